package api

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

var (
	errDeleteAdminsOnly = errs.New(errs.Forbidden, "admins_only", "Only administrators can delete clients")
	errForceAdminsOnly  = errs.New(errs.Forbidden, "admins_only", "Only administrators can force delete clients")
)

// reasonRequest is the body of transitions that take one; all of it may also be in the query.
type reasonRequest struct {
	Reason          string `json:"reason" validate:"max=2000"`
	SkipFinalBackup bool   `json:"skip_final_backup"`
}

// transitionAnswer keeps the fields of the earlier API. Success says that it was accepted and hasn't failed so far.
type transitionAnswer struct {
	Success   bool             `json:"success"`
	Message   string           `json:"message"`
	Operation *operationAnswer `json:"operation"` // null: nothing had to be done
}

type scheduleAnswer struct {
	transitionAnswer

	DeletionTime   wireTime `json:"deletion_time"`
	CanCancelUntil wireTime `json:"can_cancel_until"`
}

func (s *server) transitionRoutes(r chi.Router) {
	r.Post(oneClient+"/activate", s.user(s.activate))
	r.Post(oneClient+"/suspend", s.user(s.suspend))
	r.Post(oneClient+"/resume", s.user(s.resume))
	r.Post(oneClient+"/schedule-delete", s.user(s.scheduleDelete))
	r.Post(oneClient+"/cancel-delete", s.user(s.cancelDelete))
	r.Post(oneClient+"/neutralise", s.user(s.neutralise))
	r.Post(oneClient+"/release", s.user(s.release))
	r.Delete(oneClient, s.admin(errDeleteAdminsOnly, s.deleteClient))
	r.Post(oneClient+"/force-delete", s.admin(errForceAdminsOnly, s.deleteClient))
}

// wording is how a transition is told of, when it is done and while it goes on.
type wording struct{ done, going string }

func (s *server) activate(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, in, err := s.reason(w, r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.Activate(r.Context(), p, s.clientIP(r), name, in.Reason)
	if err != nil {
		return err
	}
	return s.replyTransition(w, r, p, c, wording{"Client " + name + " is active", "Client " + name + " is being set up"})
}

func (s *server) suspend(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, in, err := s.reason(w, r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.Suspend(r.Context(), p, s.clientIP(r), name, in.Reason)
	if err != nil {
		return err
	}
	return s.replyTransition(w, r, p, c, wording{"Client " + name + " has been suspended", "Client " + name + " is being suspended"})
}

func (s *server) resume(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.Resume(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	return s.replyTransition(w, r, p, c, wording{"Client " + name + " has been resumed", "Client " + name + " is being started"})
}

func (s *server) scheduleDelete(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	q := parseQuery(r)
	least, most := tenants.DeletionHours(p)
	hours := q.integer("hours_until_deletion", tenants.DefaultDeletionHours, least, most)
	if q.err != nil {
		return q.err
	}
	c, err := s.deps.Tenants.ScheduleDeletion(r.Context(), p, s.clientIP(r), name, hours)
	if err != nil {
		return err
	}
	text := "Client " + name + " is scheduled for deletion"
	answer, status := s.settle(w, r, p, c, wording{text, text + " and is being stopped"})
	out := scheduleAnswer{transitionAnswer: answer}
	if at := c.Tenant.DeletionScheduledAt; at != nil {
		out.DeletionTime, out.CanCancelUntil = wireTime(*at), wireTime(*at)
	}
	return reply(w, status, out)
}

func (s *server) cancelDelete(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := pathName(r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.CancelDeletion(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	text := "The deletion of client " + name + " has been cancelled"
	going := text + "; it is being started"
	if c.Tenant.State == tenants.Suspended {
		going = text + "; it is suspended, and still being stopped"
	}
	return s.replyTransition(w, r, p, c, wording{text, going})
}

// deleteClient serves both of the routes that old scripts know. They differed in what they left behind; neither leaves anything now.
func (s *server) deleteClient(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, in, err := s.reason(w, r)
	if err != nil {
		return err
	}
	c, err := s.deps.Tenants.Delete(r.Context(), p, s.clientIP(r), name, tenants.DeleteInput{Reason: in.Reason, SkipFinalBackup: in.SkipFinalBackup})
	if err != nil {
		return err
	}
	return s.replyTransition(w, r, p, c, wording{"Client " + name + " has been deleted", "Client " + name + " is being deleted"})
}

// reason reads the client's name and what goes with a transition: from the query, or from the body if there is one.
func (s *server) reason(w http.ResponseWriter, r *http.Request) (name string, in reasonRequest, err error) {
	if name, err = pathName(r); err != nil {
		return "", in, err
	}
	q := parseQuery(r)
	in = reasonRequest{Reason: q.text("reason"), SkipFinalBackup: q.boolean("skip_final_backup")}
	if q.err != nil {
		return "", in, q.err
	}
	return name, in, s.decodeOptional(w, r, &in)
}

func (s *server) replyTransition(w http.ResponseWriter, r *http.Request, p accounts.Principal, c tenants.Change, text wording) error {
	answer, status := s.settle(w, r, p, c, text)
	return reply(w, status, answer)
}

// settle waits a little for the work: front ends read the list right after. The change is made by now, so nothing that goes wrong here
// may look as if it wasn't.
func (s *server) settle(w http.ResponseWriter, r *http.Request, p accounts.Principal, c tenants.Change, text wording) (transitionAnswer, int) {
	if c.Operation == nil {
		return transitionAnswer{Success: true, Message: text.done}, http.StatusOK
	}
	op := s.await(r.Context(), *c.Operation)
	answer := transitionAnswer{Success: true, Message: text.going, Operation: newOperationAnswer(op, map[tenants.ID]string{c.Tenant.ID: c.Tenant.Name}, p.Admin)}
	w.Header().Set("Location", s.operationURL(op.ID))
	switch op.State {
	case ops.Done:
		answer.Message = text.done
		return answer, http.StatusOK
	case ops.Held:
		answer.Success, answer.Message = false, "That couldn't be finished. Our staff know and are looking after it"
	case ops.Abandoned:
		answer.Success, answer.Message = false, "That was given up, as something else was asked for meanwhile"
	case ops.Queued, ops.Running, ops.Unwinding:
	}
	return answer, http.StatusAccepted
}

// await returns the operation when it is over, or as it stands after a while.
func (s *server) await(ctx context.Context, op ops.Operation) ops.Operation {
	ctx, cancel := context.WithTimeout(ctx, s.opts.TransitionWait)
	defer cancel()
	now, err := s.deps.Ops.Wait(ctx, op.ID)
	if err != nil {
		s.deps.Log.LogAttrs(ctx, slog.LevelWarn, "can't tell how far an operation is",
			slog.String("request_id", requestID(ctx)), slog.Int64("operation", int64(op.ID)), slog.String("error", err.Error()))
		return op
	}
	return now
}

func (s *server) operationURL(id ops.ID) string {
	return s.opts.PublicURL + "/api/operations/" + strconv.FormatInt(int64(id), 10)
}
