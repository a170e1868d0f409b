package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
)

// creditAnswer is money that was paid and activated nothing.
type creditAnswer struct {
	ID         int64             `json:"id"`
	AccountID  accounts.ID       `json:"account_id"`
	PaymentID  billing.PaymentID `json:"payment_id"`
	Reference  string            `json:"reference"`
	ClientName string            `json:"client_name"`
	Amount     float64           `json:"amount"`
	AmountKobo int64             `json:"amount_kobo"`
	UsedKobo   int64             `json:"used_kobo"` // of it, for other payments
	Currency   string            `json:"currency"`
	Reason     string            `json:"reason"`
	Resolution *string           `json:"resolution"` // null: somebody has to decide
	CreatedAt  wireTime          `json:"created_at"`
}

// reviewAnswer is a payment that a person has to look at, with what they need to find it at the gateway.
type reviewAnswer struct {
	paymentAnswer

	AccountID     accounts.ID           `json:"account_id"`
	Email         string                `json:"email"`
	Mode          string                `json:"mode"`
	Purpose       billing.Purpose       `json:"purpose"`
	Review        string                `json:"review"`
	GatewayStatus billing.GatewayStatus `json:"gateway_status"`
	PaidAt        *wireTime             `json:"paid_at"`
	CompletedAt   *wireTime             `json:"completed_at"`
}

func newCreditAnswer(c billing.Credit) creditAnswer {
	return creditAnswer{
		ID: c.ID, AccountID: c.AccountID, PaymentID: c.PaymentID, Reference: c.Reference, ClientName: c.TenantName,
		Amount: major(c.AmountKobo), AmountKobo: c.AmountKobo, UsedKobo: c.UsedKobo, Currency: c.Currency, Reason: c.Reason, Resolution: orNull(c.Resolution),
		CreatedAt: wireTime(c.CreatedAt),
	}
}

func newReviewAnswer(p billing.Payment) reviewAnswer {
	return reviewAnswer{
		paymentAnswer: newPaymentAnswer(p), AccountID: p.AccountID, Email: p.Email, Mode: p.Mode, Purpose: p.Purpose, Review: p.Review,
		GatewayStatus: p.GatewayStatus, PaidAt: wireTimePtr(p.PaidAt), CompletedAt: wireTimePtr(p.CompletedAt),
	}
}

func (s *server) adminRoutes(r chi.Router) {
	r.Get("/api/admin/credits", s.admin(errAdminsOnly, s.credits))
	r.Get("/api/admin/payments/review", s.admin(errAdminsOnly, s.reviews))
	r.Get("/api/admin/audit", s.admin(errAdminsOnly, s.listActivity))
	r.Get("/api/admin/alerts", s.admin(errAdminsOnly, s.listAlerts))
	r.Post("/api/admin/alerts/{id}/resolve", s.admin(errAdminsOnly, s.resolveAlert))
	r.Get("/api/admin/schedules", s.admin(errAdminsOnly, s.listSchedules))
	r.Patch("/api/admin/schedules/{name}", s.admin(errAdminsOnly, s.updateSchedule))
	r.Post("/api/admin/schedules/{name}/run", s.admin(errAdminsOnly, s.runSchedule))
}

func (s *server) credits(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newCreditAnswer, func(skip, limit int) ([]billing.Credit, int, error) {
		return s.deps.Billing.Credits(r.Context(), p, skip, limit)
	})
}

func (s *server) reviews(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newReviewAnswer, func(skip, limit int) ([]billing.Payment, int, error) {
		return s.deps.Billing.Reviews(r.Context(), p, skip, limit)
	})
}
