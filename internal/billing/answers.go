package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/invoicing"
	"controlplane/internal/postgres"
)

// SubscriptionView is a subscription as its owner sees it.
type SubscriptionView struct {
	Subscription

	NextPlan   string // that the next payment is for
	NextKobo   int64  // what it will be
	NextAt     *time.Time
	CreditKobo int64 // of the account, that pays for it first
	Card       *Card // nil: paid by links
	AutoRenew  bool  // goes on by itself
}

// SubscriptionOf returns the caller's subscription: the named client's, or the only one.
// Errors: ErrNoSubscription, ErrWhichSubscription, tenants.ErrNotFound.
func (s *Service) SubscriptionOf(ctx context.Context, p accounts.Principal, name string) (SubscriptionView, error) {
	sub, _, err := s.mine(ctx, p, name)
	if err != nil {
		return SubscriptionView{}, err
	}
	return s.view(ctx, sub)
}

// Subscriptions returns all of the caller's that haven't ended, the oldest first.
func (s *Service) Subscriptions(ctx context.Context, p accounts.Principal) ([]SubscriptionView, error) {
	list, err := subscriptionsOfAccount(ctx, s.deps.Pool, p.AccountID)
	if err != nil {
		return nil, err
	}
	out := make([]SubscriptionView, 0, len(list))
	for _, sub := range list {
		v, err := s.view(ctx, sub)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func (s *Service) view(ctx context.Context, sub Subscription) (SubscriptionView, error) {
	v := SubscriptionView{Subscription: sub, AutoRenew: sub.Status == SubscriptionActive || sub.Status == SubscriptionPastDue}
	tenant, err := s.deps.Tenants.ByID(ctx, sub.TenantID)
	if err != nil {
		return v, err
	}
	if v.AutoRenew {
		plan, kobo, err := s.amountDue(ctx, s.deps.Pool, sub, tenant)
		if err != nil {
			return v, err
		}
		v.NextPlan, v.NextKobo, v.NextAt = plan.ID, kobo, &sub.PeriodEnd
		due := Payment{AccountID: sub.AccountID, TenantID: sub.TenantID, Currency: sub.Currency, Mode: sub.Mode}
		if v.CreditKobo, err = spendable(ctx, s.deps.Pool, due); err != nil {
			return v, err
		}
	}
	v.Card, err = readCard(ctx, s.deps.Pool, sub.Authorization)
	return v, err
}

// AllSubscriptions returns everybody's of a status ("": of any), oldest first, and how many there are. Admins only.
func (s *Service) AllSubscriptions(ctx context.Context, p accounts.Principal, status SubscriptionStatus, skip, limit int) ([]Subscription, int, error) {
	switch {
	case !p.Admin:
		return nil, 0, ErrAdminOnly
	case badPage(skip, limit):
		return nil, 0, ErrPageOutOfBounds
	}
	switch status {
	case "", SubscriptionActive, SubscriptionPastDue, SubscriptionCancelled, SubscriptionEnded:
	default:
		return nil, 0, ErrBadSubscriptionSet
	}
	var total int
	if err := s.deps.Pool.QueryRow(ctx, `SELECT count(*) FROM subscriptions WHERE $1 = '' OR status = $1`, status).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the subscriptions: %w", err)
	}
	list, err := subscriptionsWhere(ctx, s.deps.Pool, `WHERE $1 = '' OR s.status = $1 ORDER BY s.id OFFSET $2 LIMIT $3`, status, skip, limit)
	return list, total, err
}

// Summary is how the business stands in one currency, for the gateway's present mode.
type Summary struct {
	Currency         string
	MonthlyKobo      int64 // monthly recurring revenue: what is paid up or due, without tax, a year's price by twelve; not what is cancelled
	Active           int
	PastDue          int
	Cancelled        int
	OverdueKobo      int64 // what past due subscriptions owe, with tax
	ReceivedKobo     int64 // in the last 30 days, before fees and refunds
	RefundedKobo     int64 // that went back in the last 30 days, whenever it was received: by refunds, lost disputes and unexplained reversals
	Refunds          int   // how many these were
	CreditsKobo      int64 // that were paid for nothing, ever
	PaymentsToReview int
}

// Summaries returns how the business stands, a row for each currency. Admins only.
func (s *Service) Summaries(ctx context.Context, p accounts.Principal) ([]Summary, error) {
	if !p.Admin {
		return nil, ErrAdminOnly
	}
	taxes, err := s.deps.Invoices.Taxes(ctx, s.deps.Pool)
	if err != nil {
		return nil, err
	}
	return summaries(ctx, s.deps.Pool, s.deps.Gateway.Mode(), s.now().Add(-days(30)), taxes)
}

// summarySQL adds up prices in the tables' own terms: what is paid for is known by plan and cycle, what isn't the usual tax by $4 and $5.
const summarySQL = `
	WITH prices AS (
		SELECT s.currency, s.status, CASE s.billing_cycle WHEN 'annual'
			THEN price_monthly_kobo * 12 * (100 - annual_discount_percent) / 100 ELSE price_monthly_kobo END AS kobo,
			CASE s.billing_cycle WHEN 'annual' THEN 12 ELSE 1 END AS months, 10000 + coalesce(x.basis_points, $3::bigint) AS taxed
		FROM subscriptions s JOIN tenants t ON t.id = s.tenant_id JOIN plans p ON p.id = coalesce(s.next_plan_id, t.plan_id)
		LEFT JOIN unnest($4::bigint[], $5::bigint[]) AS x (account_id, basis_points) ON x.account_id = s.account_id
		WHERE s.mode = $1 AND s.status <> 'ended'
	), standing AS (
		SELECT currency, count(*) FILTER (WHERE status = 'active') AS active, count(*) FILTER (WHERE status = 'past_due') AS past_due,
			count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
			sum(CASE WHEN $6 THEN round(kobo * 10000.0 / taxed) ELSE kobo END / months) FILTER (WHERE status <> 'cancelled') AS monthly,
			sum(CASE WHEN $6 THEN kobo ELSE round(kobo * taxed / 10000.0) END) FILTER (WHERE status = 'past_due') AS overdue
		FROM prices GROUP BY currency
	), back AS (
		SELECT p.currency, r.amount_kobo AS kobo FROM refunds r JOIN payments p ON p.id = r.payment_id
		WHERE p.mode = $1 AND r.state = 'processed' AND NOT r.to_credit AND r.completed_at > $2
		UNION ALL
		SELECT p.currency, least(d.amount_kobo, d.claimed_kobo) FROM disputes d JOIN payments p ON p.id = d.payment_id
		WHERE p.mode = $1 AND d.outcome = 'lost' AND d.resolved_at > $2
		UNION ALL
		SELECT p.currency, coalesce(p.received_kobo, p.amount_kobo) FROM payments p JOIN ledger_entries e ON e.key = 'reversal/' || p.reference
		WHERE p.mode = $1 AND p.status = 'refunded' AND p.review IS NOT NULL AND e.at > $2
	), returned AS (
		SELECT currency, sum(kobo) AS refunded, count(*) AS refunds FROM back GROUP BY currency
	), money AS (
		SELECT currency,
			sum(amount_kobo) FILTER (WHERE status IN ('success', 'refunded') AND completed_at > $2) AS received,
			sum(amount_kobo) FILTER (WHERE status = 'success' AND purpose = 'credit') AS credits,
			count(*) FILTER (WHERE review IS NOT NULL) AS reviews
		FROM payments WHERE mode = $1 GROUP BY currency
	)
	SELECT currency, coalesce(monthly, 0)::bigint, coalesce(active, 0), coalesce(past_due, 0), coalesce(cancelled, 0), coalesce(overdue, 0)::bigint,
		coalesce(received, 0)::bigint, coalesce(refunded, 0)::bigint, coalesce(refunds, 0), coalesce(credits, 0)::bigint, coalesce(reviews, 0)
	FROM standing FULL JOIN money USING (currency) LEFT JOIN returned USING (currency) ORDER BY currency`

func summaries(ctx context.Context, q postgres.Querier, mode string, since time.Time, taxes invoicing.Taxes) ([]Summary, error) {
	rows, err := q.Query(ctx, summarySQL, mode, since, taxes.Usual, taxes.Accounts, taxes.BasisPoints, taxes.Included)
	if err != nil {
		return nil, fmt.Errorf("sum up the business: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Summary])
	if err != nil {
		return nil, fmt.Errorf("sum up the business: %w", err)
	}
	return list, nil
}
