package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// operationAnswer is an operation as its client's owner may see it; admins read what went wrong in full.
type operationAnswer struct {
	ID          ops.ID    `json:"id"`
	Kind        string    `json:"kind"`
	Subject     string    `json:"subject"`
	ClientName  *string   `json:"client_name"` // null where it isn't about a client
	State       ops.State `json:"state"`
	Step        string    `json:"step"`
	StepNumber  int       `json:"step_number"` // 1-based
	Steps       int       `json:"steps"`       // 0 where this process doesn't know the operation
	Since       wireTime  `json:"since"`       // of the step
	Attempts    int       `json:"attempts"`    // at the step
	Error       *string   `json:"error"`
	Progress    *progress `json:"progress"`               // of the step, if it tells
	ErrorDetail *string   `json:"error_detail,omitempty"` // admins only
	CreatedAt   wireTime  `json:"created_at"`
	UpdatedAt   wireTime  `json:"updated_at"`
	FinishedAt  *wireTime `json:"finished_at"`
}

// progress is how far a step has come that moves many bytes.
type progress struct {
	DoneBytes   int64  `json:"done_bytes"`
	TotalBytes  int64  `json:"total_bytes"`
	SecondsLeft *int64 `json:"seconds_left"`
}

// operationDetail adds the log, oldest line first.
type operationDetail struct {
	*operationAnswer

	Events []operationEvent `json:"events"`
}

type operationEvent struct {
	At      wireTime `json:"at"`
	Step    string   `json:"step"`
	Event   string   `json:"event"`
	Attempt int      `json:"attempt"`
	Message *string  `json:"message"`
}

func newOperationAnswer(op ops.Operation, names map[tenants.ID]string, admin bool) *operationAnswer {
	out := &operationAnswer{
		ID: op.ID, Kind: op.Kind, Subject: op.Subject, State: op.State, Step: op.Step, StepNumber: op.StepIndex + 1, Steps: op.StepCount,
		Since: wireTime(op.StepStartedAt), Attempts: op.Attempt, Error: orNull(op.Error),
		CreatedAt: wireTime(op.CreatedAt), UpdatedAt: wireTime(op.UpdatedAt), FinishedAt: wireTimePtr(op.FinishedAt),
	}
	out.Progress = (*progress)(op.Progress)
	if admin {
		out.ErrorDetail = orNull(op.ErrorDetail)
	}
	if id, ok := tenants.OfSubject(op.Subject); ok {
		out.ClientName = orNull(names[id])
	}
	return out
}

func newOperationEvents(list []ops.Event) []operationEvent {
	out := make([]operationEvent, 0, len(list))
	for _, e := range list {
		out = append(out, operationEvent{At: wireTime(e.At), Step: e.Step, Event: e.Event, Attempt: e.Attempt, Message: orNull(e.Message)})
	}
	return out
}

// oneOperation is the path of an operation for admins, who change it there.
const oneOperation = "/api/admin/operations/{id}"

func (s *server) operationRoutes(r chi.Router) {
	r.Get(oneClient+"/operations", s.user(s.clientOperations))
	r.Get("/api/operations/{id}", s.user(s.getOperation))
	r.Get("/api/admin/operations", s.admin(errAdminsOnly, s.listOperations))
	r.Get(oneOperation, s.admin(errAdminsOnly, s.getOperation))
	r.Post(oneOperation+"/retry", s.admin(errAdminsOnly, s.retryOperation))
	r.Post(oneOperation+"/abandon", s.admin(errAdminsOnly, s.abandonOperation))
}

// listOperations shows what isn't finished unless another state is asked for.
func (s *server) listOperations(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	filter := ops.ListFilter{State: ops.State(q.text("state"))}
	filter.Skip, filter.Limit = q.page()
	if q.err != nil {
		return q.err
	}
	list, total, err := s.deps.Ops.List(r.Context(), filter)
	if err != nil {
		return err
	}
	return s.replyOperations(w, r, p, filter.Skip, filter.Limit, list, total)
}

// clientOperations shows all that was ever done to a client, the latest first.
func (s *server) clientOperations(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	skip, limit := q.page()
	if q.err != nil {
		return q.err
	}
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	list, total, err := s.deps.Ops.History(r.Context(), t.ID.Subject(), skip, limit)
	if err != nil {
		return err
	}
	return s.replyOperations(w, r, p, skip, limit, list, total)
}

func (s *server) replyOperations(
	w http.ResponseWriter, r *http.Request, p accounts.Principal, skip, limit int, list []ops.Operation, total int,
) error {
	names, err := s.clientNames(r.Context(), list...)
	if err != nil {
		return err
	}
	out := make([]*operationAnswer, 0, len(list))
	for _, op := range list {
		out = append(out, newOperationAnswer(op, names, p.Admin))
	}
	s.paging(w, r, skip, limit, total)
	return reply(w, http.StatusOK, out)
}

func (s *server) clientNames(ctx context.Context, list ...ops.Operation) (map[tenants.ID]string, error) {
	var ids []tenants.ID
	for _, op := range list {
		if id, ok := tenants.OfSubject(op.Subject); ok {
			ids = append(ids, id)
		}
	}
	return s.deps.Tenants.NamesOf(ctx, ids)
}

func (s *server) getOperation(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	op, err := s.operation(r, p)
	if err != nil {
		return err
	}
	return s.replyOperation(w, r, p, http.StatusOK, op)
}

// operation finds the one that the path names, if the caller may know of it: the client that it is about is theirs, or was.
func (s *server) operation(r *http.Request, p accounts.Principal) (ops.Operation, error) {
	id, err := operationID(r)
	if err != nil {
		return ops.Operation{}, err
	}
	op, err := s.deps.Ops.Get(r.Context(), id)
	if err != nil || p.Admin {
		return op, err
	}
	if id, ok := backup.OfSubject(op.Subject); ok && s.deps.Backups != nil {
		if err := s.deps.Backups.MaySee(r.Context(), p, id); errors.Is(err, backup.ErrNotFound) {
			return ops.Operation{}, ops.ErrNotFound
		} else if err != nil {
			return ops.Operation{}, err
		}
		return op, nil
	}
	tenant, ok := tenants.OfSubject(op.Subject)
	if !ok {
		return ops.Operation{}, ops.ErrNotFound
	}
	t, err := s.deps.Tenants.ByID(r.Context(), tenant)
	if errors.Is(err, tenants.ErrNotFound) || err == nil && t.AccountID != p.AccountID {
		return ops.Operation{}, ops.ErrNotFound
	}
	return op, err
}

func (s *server) replyOperation(w http.ResponseWriter, r *http.Request, p accounts.Principal, status int, op ops.Operation) error {
	events, err := s.deps.Ops.Events(r.Context(), op.ID)
	if err != nil {
		return err
	}
	names, err := s.clientNames(r.Context(), op)
	if err != nil {
		return err
	}
	return reply(w, status, operationDetail{operationAnswer: newOperationAnswer(op, names, p.Admin), Events: newOperationEvents(events)})
}

// retryOperation lets a held operation go on; who asked for it goes on record in the same transaction.
func (s *server) retryOperation(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	op, err := s.operation(r, p)
	if err != nil {
		return err
	}
	if err := s.deps.Ops.Retry(r.Context(), op.ID, s.recordOperation(r, p, op, "operation.retry", nil)); err != nil {
		return err
	}
	w.Header().Set("Location", s.opts.PublicURL+"/api/admin/operations/"+strconv.FormatInt(int64(op.ID), 10))
	return s.replyChanged(w, r, p, http.StatusAccepted, op.ID)
}

// abandonOperation ends an operation as it is. What is left of it is for the caller, or the reconcile, to see to.
func (s *server) abandonOperation(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	op, err := s.operation(r, p)
	if err != nil {
		return err
	}
	q := parseQuery(r)
	in := abandonRequest{Reason: q.text("reason")}
	if q.err != nil {
		return q.err
	}
	if err := s.decodeOptional(w, r, &in); err != nil {
		return err
	}
	record := s.recordOperation(r, p, op, "operation.abandon", map[string]any{"reason": in.Reason})
	allowed := func(ctx context.Context, q postgres.Querier) error { return backup.MayAbandon(ctx, q, op.ID) }
	if err := s.deps.Ops.Abandon(r.Context(), op.ID, p.Username+": "+in.Reason, allowed, record); err != nil {
		return err
	}
	return s.replyChanged(w, r, p, http.StatusOK, op.ID)
}

type abandonRequest struct {
	Reason string `json:"reason" validate:"required,max=500"`
}

func (s *server) replyChanged(w http.ResponseWriter, r *http.Request, p accounts.Principal, status int, id ops.ID) error {
	op, err := s.deps.Ops.Get(r.Context(), id)
	if err != nil {
		return err
	}
	return s.replyOperation(w, r, p, status, op)
}

// recordOperation writes what an admin did into the activity log, in the transaction that does it.
func (s *server) recordOperation(
	r *http.Request, p accounts.Principal, op ops.Operation, action string, detail map[string]any,
) func(ctx context.Context, q postgres.Querier) error {
	tenant, _ := tenants.OfSubject(op.Subject)
	all := map[string]any{"operation": op.ID, "kind": op.Kind, "step": op.Step}
	for name, value := range detail {
		all[name] = value
	}
	entry := audit.Entry{
		AccountID: int64(p.AccountID), Actor: p.Username, TenantID: int64(tenant), Action: action, IP: s.clientIP(r), Detail: all,
	}
	return func(ctx context.Context, q postgres.Querier) error { return s.deps.Audit.RecordTx(ctx, q, entry) }
}

// operationID reads the id from the path; what is no number names nothing.
func operationID(r *http.Request) (ops.ID, error) {
	text, ok := pathParam(r, "id")
	id, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return 0, ops.ErrNotFound
	}
	return ops.ID(id), nil
}
