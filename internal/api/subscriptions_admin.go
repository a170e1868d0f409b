package api

import (
	"net/http"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
)

// summaryAnswer is how the business stands in one currency.
type summaryAnswer struct {
	Currency         string  `json:"currency"`
	MonthlyRevenue   float64 `json:"monthly_recurring_revenue"`
	MonthlyKobo      int64   `json:"monthly_recurring_revenue_kobo"`
	Active           int     `json:"active"`
	PastDue          int     `json:"past_due"`
	Cancelled        int     `json:"cancelled"`
	OverdueKobo      int64   `json:"overdue_kobo"`
	ReceivedKobo     int64   `json:"received_30_days_kobo"`
	RefundedKobo     int64   `json:"refunded_30_days_kobo"`
	Refunds          int     `json:"refunds_30_days"`
	CreditsKobo      int64   `json:"credits_kobo"`
	PaymentsToReview int     `json:"payments_to_review"`
}

// adminSubscriptionAnswer is a row of everybody's subscriptions.
type adminSubscriptionAnswer struct {
	ID           billing.SubscriptionID     `json:"id"`
	AccountID    accounts.ID                `json:"account_id"`
	ClientName   string                     `json:"client_name"`
	Status       billing.SubscriptionStatus `json:"status"`
	Plan         string                     `json:"plan"`
	NextPlan     string                     `json:"next_plan"`
	BillingCycle billing.Cycle              `json:"billing_cycle"`
	PeriodStart  wireTime                   `json:"period_start"`
	PeriodEnd    wireTime                   `json:"period_end"`
	Attempts     int                        `json:"attempts"`
	SuspendedAt  *wireTime                  `json:"suspended_at"`
	DeletionAt   *wireTime                  `json:"deletion_at"`
	CancelledAt  *wireTime                  `json:"cancelled_at"`
	ByCard       bool                       `json:"by_card"`
}

func (s *server) billingSummary(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	list, err := s.deps.Billing.Summaries(r.Context(), p)
	if err != nil {
		return err
	}
	out := make([]summaryAnswer, 0, len(list))
	for _, v := range list {
		out = append(out, summaryAnswer{
			Currency: v.Currency, MonthlyRevenue: major(v.MonthlyKobo), MonthlyKobo: v.MonthlyKobo, Active: v.Active, PastDue: v.PastDue,
			Cancelled: v.Cancelled, OverdueKobo: v.OverdueKobo, ReceivedKobo: v.ReceivedKobo, RefundedKobo: v.RefundedKobo, Refunds: v.Refunds,
			CreditsKobo: v.CreditsKobo, PaymentsToReview: v.PaymentsToReview,
		})
	}
	return reply(w, http.StatusOK, out)
}

func (s *server) allSubscriptions(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	q := parseQuery(r)
	skip, limit := q.page()
	status := billing.SubscriptionStatus(q.text("status"))
	if q.err != nil {
		return q.err
	}
	list, total, err := s.deps.Billing.AllSubscriptions(r.Context(), p, status, skip, limit)
	if err != nil {
		return err
	}
	out := make([]adminSubscriptionAnswer, 0, len(list))
	for _, v := range list {
		out = append(out, adminSubscriptionAnswer{
			ID: v.ID, AccountID: v.AccountID, ClientName: v.TenantName, Status: v.Status, Plan: v.PlanID, NextPlan: v.NextPlanID,
			BillingCycle: v.Cycle, PeriodStart: wireTime(v.PeriodStart), PeriodEnd: wireTime(v.PeriodEnd), Attempts: v.Stage,
			SuspendedAt: wireTimePtr(v.SuspendedAt), DeletionAt: wireTimePtr(v.DeletionAt), CancelledAt: wireTimePtr(v.CancelledAt),
			ByCard: v.Authorization != 0,
		})
	}
	s.paging(w, r, skip, limit, total)
	return reply(w, http.StatusOK, out)
}
