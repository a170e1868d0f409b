package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
)

type initializeRequest struct {
	Plan         string `json:"plan" validate:"required,max=100"`
	BillingCycle string `json:"billing_cycle" validate:"max=100"`
	ClientName   string `json:"client_name" validate:"max=1000"`
}

type initializeAnswer struct {
	AuthorizationURL string `json:"authorization_url"`
	Reference        string `json:"reference"`
}

type verifyAnswer struct {
	Status  billing.Status `json:"status"`
	Message string         `json:"message"`
}

type paymentAnswer struct {
	ID            billing.PaymentID `json:"id"`
	Reference     string            `json:"reference"`
	ClientName    string            `json:"client_name"`
	Amount        float64           `json:"amount"` // naira, as ever
	AmountKobo    int64             `json:"amount_kobo"`
	CreditKobo    int64             `json:"credit_kobo"` // paid from the account's credit on top
	Currency      string            `json:"currency"`
	PaymentStatus billing.Status    `json:"payment_status"`
	Plan          string            `json:"plan"`
	BillingCycle  billing.Cycle     `json:"billing_cycle"`
	CreatedAt     wireTime          `json:"created_at"`
}

type webhookAnswer struct {
	Status string `json:"status"`
}

func (s *server) paymentRoutes(r chi.Router) {
	r.Post("/api/payments/initialize", s.user(s.initialize))
	r.Get("/api/payments/verify/{reference}", s.user(s.verify))
	r.Get("/api/payments/history", s.user(s.history))
	r.Post("/api/payments/webhook", s.public(s.webhook))
	r.Get("/api/payments/progress/{reference}", s.public(s.paymentProgress))
	s.subscriptionRoutes(r)
}

func (s *server) initialize(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "initialize", s.opts.Rates.Initialize); err != nil {
		return err
	}
	var in initializeRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	payment, err := s.deps.Billing.Initialize(r.Context(), p, s.clientIP(r), billing.InitializeInput{
		PlanID: in.Plan, BillingCycle: in.BillingCycle, ClientName: in.ClientName,
	})
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, initializeAnswer{AuthorizationURL: payment.AuthorizationURL, Reference: payment.Reference})
}

func (s *server) verify(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "confirm", s.opts.Rates.Confirm); err != nil {
		return err
	}
	reference, ok := pathParam(r, "reference")
	if !ok {
		return billing.ErrPaymentNotFound
	}
	payment, err := s.deps.Billing.Confirm(r.Context(), p, reference)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, verifyAnswer{Status: payment.Status, Message: paymentText(payment)})
}

func paymentText(p billing.Payment) string {
	if p.Review != "" && p.Status != billing.StatusRefunded {
		return textReview
	}
	switch p.Status {
	case billing.StatusSuccess:
		return "Payment verified successfully"
	case billing.StatusFailed:
		return "The payment didn't go through. You can try again on the payment page."
	case billing.StatusRefunded:
		return "The payment was refunded"
	case billing.StatusPending:
		return "The payment hasn't arrived yet"
	}
	return "The payment hasn't arrived yet"
}

func (s *server) history(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newPaymentAnswer, func(skip, limit int) ([]billing.Payment, int, error) {
		return s.deps.Billing.History(r.Context(), p, skip, limit)
	})
}

func newPaymentAnswer(p billing.Payment) paymentAnswer {
	return paymentAnswer{
		ID: p.ID, Reference: p.Reference, ClientName: p.TenantName, Amount: major(p.AmountKobo), AmountKobo: p.AmountKobo,
		CreditKobo: p.CreditKobo, Currency: p.Currency, PaymentStatus: p.Status, Plan: p.PlanID, BillingCycle: p.BillingCycle, CreatedAt: wireTime(p.CreatedAt),
	}
}
