package api

import (
	"context"
	"net/http"
	"strconv"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// operationAnswer is an operation as admins see it, with what went wrong in full.
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
	Error       *string   `json:"error"`       // as the owner reads it
	ErrorDetail *string   `json:"error_detail"`
	CreatedAt   wireTime  `json:"created_at"`
	UpdatedAt   wireTime  `json:"updated_at"`
	FinishedAt  *wireTime `json:"finished_at"`
}

// operationDetail adds the log, oldest line first.
type operationDetail struct {
	operationAnswer

	Events []operationEvent `json:"events"`
}

type operationEvent struct {
	At      wireTime `json:"at"`
	Step    string   `json:"step"`
	Event   string   `json:"event"`
	Attempt int      `json:"attempt"`
	Message *string  `json:"message"`
}

func newOperationAnswer(op ops.Operation, names map[tenants.ID]string) operationAnswer {
	out := operationAnswer{
		ID: op.ID, Kind: op.Kind, Subject: op.Subject, State: op.State, Step: op.Step, StepNumber: op.StepIndex + 1, Steps: op.StepCount,
		Since: wireTime(op.StepStartedAt), Attempts: op.Attempt, Error: orNull(op.Error), ErrorDetail: orNull(op.ErrorDetail),
		CreatedAt: wireTime(op.CreatedAt), UpdatedAt: wireTime(op.UpdatedAt), FinishedAt: wireTimePtr(op.FinishedAt),
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

// listOperations shows what isn't finished unless another state is asked for.
func (s *server) listOperations(w http.ResponseWriter, r *http.Request, _ accounts.Principal) error {
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
	names, err := s.clientNames(r.Context(), list...)
	if err != nil {
		return err
	}
	out := make([]operationAnswer, 0, len(list))
	for _, op := range list {
		out = append(out, newOperationAnswer(op, names))
	}
	s.paging(w, r, filter.Skip, filter.Limit, total)
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

func (s *server) getOperation(w http.ResponseWriter, r *http.Request, _ accounts.Principal) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	return s.replyOperation(w, r, http.StatusOK, id)
}

func (s *server) replyOperation(w http.ResponseWriter, r *http.Request, status int, id ops.ID) error {
	op, err := s.deps.Ops.Get(r.Context(), id)
	if err != nil {
		return err
	}
	events, err := s.deps.Ops.Events(r.Context(), id)
	if err != nil {
		return err
	}
	names, err := s.clientNames(r.Context(), op)
	if err != nil {
		return err
	}
	return reply(w, status, operationDetail{operationAnswer: newOperationAnswer(op, names), Events: newOperationEvents(events)})
}

// retryOperation lets a held operation go on; who asked for it goes on record in the same transaction.
func (s *server) retryOperation(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	id, err := operationID(r)
	if err != nil {
		return err
	}
	op, err := s.deps.Ops.Get(r.Context(), id)
	if err != nil {
		return err
	}
	tenant, _ := tenants.OfSubject(op.Subject)
	entry := audit.Entry{
		AccountID: int64(p.AccountID), Actor: p.Username, TenantID: int64(tenant), Action: "operation.retry", IP: s.clientIP(r),
		Detail: map[string]any{"operation": op.ID, "kind": op.Kind, "step": op.Step},
	}
	err = s.deps.Ops.Retry(r.Context(), id, func(ctx context.Context, q postgres.Querier) error {
		return s.deps.Audit.RecordTx(ctx, q, entry)
	})
	if err != nil {
		return err
	}
	w.Header().Set("Location", s.opts.PublicURL+"/api/admin/operations/"+strconv.FormatInt(int64(id), 10))
	return s.replyOperation(w, r, http.StatusAccepted, id)
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
