package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
)

// subscriptionAnswer has the fields that existing front ends read first. Without a subscription the answer is a stated one.
type subscriptionAnswer struct {
	Status          billing.SubscriptionStatus `json:"status"`
	Plan            string                     `json:"plan"`
	StartDate       wireTime                   `json:"start_date"`
	EndDate         wireTime                   `json:"end_date"` // paid until then
	NextBillingDate *wireTime                  `json:"next_billing_date"`
	AutoRenew       int                        `json:"auto_renew"` // 0 or 1, as ever
	ClientName      string                     `json:"client_name"`
	BillingCycle    billing.Cycle              `json:"billing_cycle"`
	PeriodStart     wireTime                   `json:"period_start"`
	NextPlan        string                     `json:"next_plan"`
	NextAmount      float64                    `json:"next_amount"`
	NextAmountKobo  int64                      `json:"next_amount_kobo"`
	CreditKobo      int64                      `json:"credit_kobo"` // of the account; pays first
	Currency        string                     `json:"currency"`
	Attempts        int                        `json:"attempts"` // that came to nothing
	SuspendedAt     *wireTime                  `json:"suspended_at"`
	DeletionAt      *wireTime                  `json:"deletion_at"`
	CancelledAt     *wireTime                  `json:"cancelled_at"`
	Card            *cardAnswer                `json:"card"`
}

type cardAnswer struct {
	Brand    string `json:"brand"`
	Last4    string `json:"last4"`
	ExpMonth string `json:"exp_month"`
	ExpYear  string `json:"exp_year"`
	Bank     string `json:"bank"`
}

// stated is an answer in the words of the earlier API.
type stated struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type planChangeRequest struct {
	ClientName string `json:"client_name" validate:"max=1000"`
	Plan       string `json:"plan" validate:"required,max=100"`
	Preview    bool   `json:"preview"`
}

type planChangeAnswer struct {
	Outcome          billing.PlanOutcome `json:"outcome"`
	From             string              `json:"from"`
	To               string              `json:"to"`
	Amount           float64             `json:"amount"`
	AmountKobo       int64               `json:"amount_kobo"`
	CreditKobo       int64               `json:"credit_kobo"`
	Currency         string              `json:"currency"`
	EffectiveAt      wireTime            `json:"effective_at"`
	AuthorizationURL string              `json:"authorization_url"`
	Reference        string              `json:"reference"`
}

// clientNamed is a body that only says which client is meant.
type clientNamed struct {
	ClientName string `json:"client_name" validate:"max=1000"`
}

func newSubscriptionAnswer(v billing.SubscriptionView) subscriptionAnswer {
	a := subscriptionAnswer{
		Status: v.Status, Plan: v.PlanID, StartDate: wireTime(v.Anchor), EndDate: wireTime(v.PeriodEnd), NextBillingDate: wireTimePtr(v.NextAt),
		ClientName: v.TenantName, BillingCycle: v.Cycle, PeriodStart: wireTime(v.PeriodStart), NextPlan: v.NextPlan, NextAmount: major(v.NextKobo),
		NextAmountKobo: v.NextKobo, CreditKobo: v.CreditKobo, Currency: v.Currency, Attempts: v.Announced, SuspendedAt: wireTimePtr(v.SuspendedAt),
		DeletionAt: wireTimePtr(v.DeletionAt), CancelledAt: wireTimePtr(v.CancelledAt),
	}
	if v.AutoRenew {
		a.AutoRenew = 1
	}
	if v.Card != nil {
		a.Card = new(cardAnswer(*v.Card))
	}
	return a
}

func (s *server) subscriptionRoutes(r chi.Router) {
	r.Get("/api/payments/subscription", s.user(s.subscription))
	r.Get("/api/payments/subscriptions", s.user(s.subscriptions))
	r.Post("/api/payments/cancel-subscription", s.user(s.cancelSubscription))
	r.Post("/api/payments/reactivate-subscription", s.user(s.reactivateSubscription))
	r.Post("/api/payments/change-plan", s.user(s.changePlan))
	r.Get("/api/admin/billing/summary", s.admin(errAdminsOnly, s.billingSummary))
	r.Get("/api/admin/subscriptions", s.admin(errAdminsOnly, s.allSubscriptions))
}

// subscription answers 200 without a subscription too, as the earlier API did, unless a client was named.
func (s *server) subscription(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	if q.err != nil {
		return q.err
	}
	name := q.text("client_name")
	if q.err != nil {
		return q.err
	}
	if name == "" {
		list, err := s.deps.Billing.Subscriptions(r.Context(), p)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return reply(w, http.StatusOK, stated{Status: "no_subscription", Message: "No active subscription"})
		}
	}
	v, err := s.deps.Billing.SubscriptionOf(r.Context(), p, name)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newSubscriptionAnswer(v))
}

func (s *server) subscriptions(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	list, err := s.deps.Billing.Subscriptions(r.Context(), p)
	if err != nil {
		return err
	}
	out := make([]subscriptionAnswer, 0, len(list))
	for _, v := range list {
		out = append(out, newSubscriptionAnswer(v))
	}
	return reply(w, http.StatusOK, out)
}

// namedClient reads the client's name from the query or the body; either may be absent.
func (s *server) namedClient(w http.ResponseWriter, r *http.Request) (string, error) {
	q := parseQuery(r)
	in := clientNamed{ClientName: q.text("client_name")}
	if q.err != nil {
		return "", q.err
	}
	return in.ClientName, s.decodeOptional(w, r, &in)
}

func (s *server) cancelSubscription(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := s.namedClient(w, r)
	if err != nil {
		return err
	}
	sub, err := s.deps.Billing.Cancel(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, stated{Status: "success", Message: "Subscription cancelled. " + sub.TenantName + " runs until " +
		sub.PeriodEnd.UTC().Format("2 January 2006, 15:04 MST") + " and is then deleted."})
}

func (s *server) reactivateSubscription(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	name, err := s.namedClient(w, r)
	if err != nil {
		return err
	}
	sub, err := s.deps.Billing.Reactivate(r.Context(), p, s.clientIP(r), name)
	if err != nil {
		return err
	}
	message := "Subscription reactivated."
	if sub.Status == billing.SubscriptionPastDue {
		message = "Subscription reactivated. Pay for the next period, and " + sub.TenantName + " starts by itself."
	}
	return reply(w, http.StatusOK, stated{Status: "success", Message: message})
}

func (s *server) changePlan(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "initialize", s.opts.Rates.Initialize); err != nil {
		return err
	}
	var in planChangeRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	c, err := s.deps.Billing.ChangePlan(r.Context(), p, s.clientIP(r), in.ClientName, in.Plan, in.Preview)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, planChangeAnswer{
		Outcome: c.Outcome, From: c.From, To: c.To, Amount: major(c.AmountKobo), AmountKobo: c.AmountKobo, CreditKobo: c.CreditKobo, Currency: c.Currency,
		EffectiveAt: wireTime(c.EffectiveAt), AuthorizationURL: c.AuthorizationURL, Reference: c.Reference,
	})
}
