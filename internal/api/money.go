package api

import (
	"net/http"
	"strconv"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
)

// moneyRoutes are for whoever looks after the money.
func (s *server) moneyRoutes(r chi.Router) {
	r.Get("/api/admin/refunds", s.admin(errAdminsOnly, s.listRefunds))
	r.Post("/api/admin/payments/{reference}/refunds", s.admin(errAdminsOnly, s.refund))
	r.Get("/api/admin/disputes", s.admin(errAdminsOnly, s.listDisputes))
	r.Post("/api/admin/credits/{id}/keep", s.admin(errAdminsOnly, s.keepCredit))
	r.Get("/api/admin/reconciliation", s.admin(errAdminsOnly, s.listRuns))
	r.Get("/api/admin/reconciliation/differences", s.admin(errAdminsOnly, s.listDifferences))
	r.Post("/api/admin/reconciliation/differences/{id}/explain", s.admin(errAdminsOnly, s.explainDifference))
}

type refundRequest struct {
	AmountKobo int64  `json:"amount_kobo" validate:"min=0"` // 0: all that is left
	Reason     string `json:"reason" validate:"required,max=500"`
	End        *bool  `json:"end_subscription"` // null: when nothing is left of the payment
}

type noteRequest struct {
	Note string `json:"note" validate:"required,max=500"`
}

type refundAnswer struct {
	ID          billing.RefundID    `json:"id"`
	Reference   string              `json:"reference"` // the payment's
	AccountID   accounts.ID         `json:"account_id"`
	ClientName  string              `json:"client_name"`
	AmountKobo  int64               `json:"amount_kobo"`
	Currency    string              `json:"currency"`
	State       billing.RefundState `json:"state"`
	Reason      string              `json:"reason"`
	RequestedBy *string             `json:"requested_by"` // null: made at the gateway
	Ends        bool                `json:"end_subscription"`
	ToCredit    bool                `json:"to_credit"` // to the account's credit, not to the payer's bank
	GatewayID   *int64              `json:"gateway_id"`
	Error       *string             `json:"error"`
	CreatedAt   wireTime            `json:"created_at"`
	CompletedAt *wireTime           `json:"completed_at"`
}

func newRefundAnswer(r billing.RefundOrder) refundAnswer {
	out := refundAnswer{
		ID: r.ID, Reference: r.Reference, AccountID: r.AccountID, ClientName: r.TenantName, AmountKobo: r.AmountKobo, Currency: r.Currency,
		State: r.State, Reason: r.Reason, RequestedBy: orNull(r.RequestedBy), Ends: r.Ends, ToCredit: r.ToCredit, Error: orNull(r.Error), CreatedAt: wireTime(r.CreatedAt),
		CompletedAt: wireTimePtr(r.CompletedAt),
	}
	if r.GatewayID != 0 {
		out.GatewayID = &r.GatewayID
	}
	return out
}

func (s *server) refund(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	reference, ok := pathParam(r, "reference")
	if !ok {
		return billing.ErrPaymentNotFound
	}
	var in refundRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	order, err := s.deps.Billing.Refund(r.Context(), p, s.clientIP(r), billing.RefundInput{
		Reference: reference, AmountKobo: in.AmountKobo, Reason: in.Reason, End: in.End,
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusAccepted, newRefundAnswer(order))
}

func (s *server) listRefunds(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newRefundAnswer, func(skip, limit int) ([]billing.RefundOrder, int, error) {
		return s.deps.Billing.RefundList(r.Context(), p, skip, limit)
	})
}

type disputeAnswer struct {
	ID         int64                  `json:"id"`
	GatewayID  int64                  `json:"gateway_id"`
	Reference  string                 `json:"reference"`
	AccountID  accounts.ID            `json:"account_id"`
	ClientName string                 `json:"client_name"`
	Status     billing.DisputeStatus  `json:"status"`
	Outcome    billing.DisputeOutcome `json:"outcome"`
	Category   string                 `json:"category"`
	AmountKobo int64                  `json:"amount_kobo"`
	Currency   string                 `json:"currency"`
	DueAt      *wireTime              `json:"due_at"` // silence until then loses it
	OpenedAt   wireTime               `json:"opened_at"`
	ResolvedAt *wireTime              `json:"resolved_at"`
}

func newDisputeAnswer(d billing.DisputeCase) disputeAnswer {
	return disputeAnswer{
		ID: d.ID, GatewayID: d.GatewayID, Reference: d.Reference, AccountID: d.AccountID, ClientName: d.TenantName, Status: d.Status,
		Outcome: d.Outcome, Category: d.Category, AmountKobo: d.AmountKobo, Currency: d.Currency, DueAt: wireTimePtr(d.DueAt),
		OpenedAt: wireTime(d.OpenedAt), ResolvedAt: wireTimePtr(d.ResolvedAt),
	}
}

func (s *server) listDisputes(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newDisputeAnswer, func(skip, limit int) ([]billing.DisputeCase, int, error) {
		return s.deps.Billing.DisputeList(r.Context(), p, skip, limit)
	})
}

func (s *server) keepCredit(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	id, note, err := s.noted(w, r, billing.ErrCreditNotFound)
	if err != nil {
		return err
	}
	if err := s.deps.Billing.KeepCredit(r.Context(), p, s.clientIP(r), id, note); err != nil {
		return err
	}
	return reply(w, http.StatusOK, done{Success: true, Message: "The money is kept as the customer's credit."})
}

type runAnswer struct {
	ID           int64     `json:"id"`
	Mode         string    `json:"mode"`
	From         wireTime  `json:"from"`
	To           wireTime  `json:"to"`
	StartedAt    wireTime  `json:"started_at"`
	FinishedAt   *wireTime `json:"finished_at"`
	Error        *string   `json:"error"`
	Transactions int64     `json:"transactions"`
	Payments     int64     `json:"payments"`
	Disputes     int64     `json:"disputes"`
	Healed       int64     `json:"healed"`
	Differences  int64     `json:"differences"`
}

func newRunAnswer(r billing.ReconcileRun) runAnswer {
	return runAnswer{
		ID: r.ID, Mode: r.Mode, From: wireTime(r.From), To: wireTime(r.To), StartedAt: wireTime(r.StartedAt), FinishedAt: wireTimePtr(r.FinishedAt),
		Error: orNull(r.Error), Transactions: r.Transactions, Payments: r.Payments, Disputes: r.Disputes, Healed: r.Healed, Differences: r.Differences,
	}
}

func (s *server) listRuns(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newRunAnswer, func(skip, limit int) ([]billing.ReconcileRun, int, error) {
		return s.deps.Billing.Runs(r.Context(), p, skip, limit)
	})
}

type differenceAnswer struct {
	ID         int64     `json:"id"`
	Mode       string    `json:"mode"`
	Kind       string    `json:"kind"`
	Reference  string    `json:"reference"`
	Ours       string    `json:"ours"`
	Theirs     string    `json:"theirs"`
	FirstSeen  wireTime  `json:"first_seen"`
	LastSeen   wireTime  `json:"last_seen"`
	ResolvedAt *wireTime `json:"resolved_at"`
	Resolution *string   `json:"resolution"`
	ResolvedBy *string   `json:"resolved_by"`
	Note       *string   `json:"note"`
}

func newDifferenceAnswer(d billing.Difference) differenceAnswer {
	return differenceAnswer{
		ID: d.ID, Mode: d.Mode, Kind: d.Kind, Reference: d.Reference, Ours: d.Ours, Theirs: d.Theirs, FirstSeen: wireTime(d.FirstSeen),
		LastSeen: wireTime(d.LastSeen), ResolvedAt: wireTimePtr(d.ResolvedAt), Resolution: orNull(d.Resolution), ResolvedBy: orNull(d.ResolvedBy),
		Note: orNull(d.Note),
	}
}

// listDifferences shows what is open, or what was resolved.
func (s *server) listDifferences(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	resolved := q.boolean("resolved")
	if q.err != nil {
		return q.err
	}
	return page(s, w, r, newDifferenceAnswer, func(skip, limit int) ([]billing.Difference, int, error) {
		return s.deps.Billing.Differences(r.Context(), p, resolved, skip, limit)
	})
}

func (s *server) explainDifference(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	id, note, err := s.noted(w, r, billing.ErrDifferenceGone)
	if err != nil {
		return err
	}
	if err := s.deps.Billing.Explain(r.Context(), p, s.clientIP(r), id, note); err != nil {
		return err
	}
	return reply(w, http.StatusOK, done{Success: true, Message: "The difference is explained."})
}

// noted reads the id in the path, which must be a number or is unknown, and the note in the body.
func (s *server) noted(w http.ResponseWriter, r *http.Request, unknown error) (int64, string, error) {
	text, ok := pathParam(r, "id")
	id, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return 0, "", unknown
	}
	var in noteRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return 0, "", err
	}
	return id, in.Note, nil
}

// page answers with a part of a list that is counted.
func page[T, A any](s *server, w http.ResponseWriter, r *http.Request, answer func(T) A, list func(skip, limit int) ([]T, int, error)) error {
	q := parseQuery(r)
	skip, limit := q.page()
	if q.err != nil {
		return q.err
	}
	found, total, err := list(skip, limit)
	if err != nil {
		return err
	}
	out := make([]A, 0, len(found))
	for _, t := range found {
		out = append(out, answer(t))
	}
	s.paging(w, r, skip, limit, total)
	return reply(w, http.StatusOK, out)
}
