package billing

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const subscriptionColumns = `s.id, s.account_id, s.tenant_id, t.name, s.plan_id, coalesce(s.next_plan_id, ''), s.billing_cycle, s.currency, s.mode,
	s.email, s.status, s.anchor, s.period_start, s.period_end, coalesce(s.authorization_id, 0), s.stage, s.announced, s.stage_at,
	s.suspended_at, s.deletion_at, s.cancelled_at, s.returned_at, s.created_at`

const fromSubscriptions = ` FROM subscriptions s JOIN tenants t ON t.id = s.tenant_id `

func scanSubscription(row pgx.CollectableRow) (Subscription, error) {
	var s Subscription
	err := row.Scan(&s.ID, &s.AccountID, &s.TenantID, &s.TenantName, &s.PlanID, &s.NextPlanID, &s.Cycle, &s.Currency, &s.Mode, &s.Email,
		&s.Status, &s.Anchor, &s.PeriodStart, &s.PeriodEnd, &s.Authorization, &s.Stage, &s.Announced, &s.StageAt, &s.SuspendedAt,
		&s.DeletionAt, &s.CancelledAt, &s.ReturnedAt, &s.CreatedAt)
	return s, err
}

func subscriptionsWhere(ctx context.Context, q postgres.Querier, where string, args ...any) ([]Subscription, error) {
	rows, err := q.Query(ctx, `SELECT `+subscriptionColumns+fromSubscriptions+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanSubscription)
	if err != nil {
		return nil, fmt.Errorf("read the subscriptions: %w", err)
	}
	return list, nil
}

func oneSubscription(ctx context.Context, q postgres.Querier, where string, args ...any) (Subscription, error) {
	list, err := subscriptionsWhere(ctx, q, where, args...)
	if err != nil {
		return Subscription{}, err
	}
	if len(list) == 0 {
		return Subscription{}, ErrNoSubscription
	}
	return list[0], nil
}

func subscriptionByID(ctx context.Context, q postgres.Querier, id SubscriptionID) (Subscription, error) {
	return oneSubscription(ctx, q, `WHERE s.id = $1`, id)
}

func subscriptionOf(ctx context.Context, q postgres.Querier, id tenants.ID) (Subscription, error) {
	return oneSubscription(ctx, q, `WHERE s.tenant_id = $1`, id)
}

// lockSubscription is taken after the tenant's lock, always.
func lockSubscription(ctx context.Context, tx pgx.Tx, id SubscriptionID) (Subscription, error) {
	return oneSubscription(ctx, tx, `WHERE s.id = $1 FOR UPDATE OF s`, id)
}

// insertSubscription does nothing for a tenant that has one.
func insertSubscription(ctx context.Context, tx pgx.Tx, s Subscription, nextAction, now time.Time) (SubscriptionID, error) {
	var id SubscriptionID
	err := tx.QueryRow(ctx, `
		INSERT INTO subscriptions (account_id, tenant_id, plan_id, billing_cycle, currency, mode, email, status, anchor, period_start,
			period_end, authorization_id, next_action_at, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, 'active', $8, $8, $9, nullif($10::bigint, 0), $11, $12, $12)
		RETURNING id`, s.AccountID, s.TenantID, s.PlanID, s.Cycle, s.Currency, s.Mode, s.Email, s.PeriodStart, s.PeriodEnd, s.Authorization,
		nextAction, now).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("store the subscription: %w", err)
	}
	return id, nil
}

// saveSubscription writes all of a locked subscription that ever changes.
func saveSubscription(ctx context.Context, tx pgx.Tx, s Subscription, nextAction *time.Time, now time.Time) error {
	return exec(ctx, tx, "store the subscription", `
		UPDATE subscriptions SET plan_id = $2, next_plan_id = nullif($3, ''), email = $4, status = $5, period_start = $6, period_end = $7,
			authorization_id = nullif($8::bigint, 0), stage = $9, announced = $10, stage_at = $11, suspended_at = $12, deletion_at = $13,
			cancelled_at = $14, ended_at = CASE WHEN $5 = 'ended' THEN coalesce(ended_at, $16::timestamptz) END,
			next_action_at = CASE WHEN $5 <> 'ended' THEN $15::timestamptz END, updated_at = $16, anchor = $17,
			returned_at = $18
		WHERE id = $1`, s.ID, s.PlanID, s.NextPlanID, s.Email, s.Status, s.PeriodStart, s.PeriodEnd, s.Authorization, s.Stage, s.Announced,
		s.StageAt, s.SuspendedAt, s.DeletionAt, s.CancelledAt, nextAction, now, s.Anchor, s.ReturnedAt)
}

// lookAgain says when somebody has to look at a subscription next.
func lookAgain(ctx context.Context, q postgres.Querier, id SubscriptionID, at time.Time) error {
	return exec(ctx, q, "postpone the look at a subscription", `
		UPDATE subscriptions SET next_action_at = $2 WHERE id = $1 AND next_action_at IS NOT NULL`, id, at)
}

// hastenUnpaid has an account's unpaid subscriptions looked at now: there is credit for them. Whoever holds one of them is looking.
func hastenUnpaid(ctx context.Context, q postgres.Querier, account accounts.ID, now time.Time) error {
	return exec(ctx, q, "hasten the look at unpaid subscriptions", `
		UPDATE subscriptions SET next_action_at = $2 WHERE id IN (
			SELECT id FROM subscriptions WHERE account_id = $1 AND status = 'past_due' AND next_action_at > $2 FOR UPDATE SKIP LOCKED)`, account, now)
}

// hastenDeleted has subscriptions looked at now whose clients are gone: they end.
func hastenDeleted(ctx context.Context, q postgres.Querier, now time.Time) error {
	return exec(ctx, q, "hasten the look at subscriptions of deleted clients", `
		UPDATE subscriptions SET next_action_at = $1 WHERE id IN (
			SELECT s.id FROM subscriptions s JOIN tenants t ON t.id = s.tenant_id
			WHERE s.status <> 'ended' AND t.state = 'deleted' AND s.next_action_at > $1 FOR UPDATE OF s SKIP LOCKED)`, now)
}

func claimSubscriptions(ctx context.Context, q postgres.Querier, mode string, now time.Time, lease time.Duration, limit int) ([]SubscriptionID, error) {
	rows, err := q.Query(ctx, `
		UPDATE subscriptions SET next_action_at = $3
		WHERE id IN (SELECT id FROM subscriptions WHERE next_action_at <= $2 AND mode = $1
		             ORDER BY next_action_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
		RETURNING id`, mode, now, now.Add(lease), limit)
	if err != nil {
		return nil, fmt.Errorf("claim the subscriptions to look at: %w", err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[SubscriptionID])
	if err != nil {
		return nil, fmt.Errorf("claim the subscriptions to look at: %w", err)
	}
	slices.Sort(ids) // an UPDATE returns them in any order
	return ids, nil
}

// attempts is what has become of our asking for one period, and of charges for the same client.
type attempts struct {
	open      bool // a saved card's charge has no outcome yet, whatever it is for
	waiting   bool // and it is young enough to be waited for, or its money is in review
	undecided bool // a charge for this period is too old to be waited for, and may yet succeed
	paying    bool // a charge for this period is young enough for that, and not in review: its bank may take the money at any moment
	tried     bool // the present attempt sent something to be charged
	lastLost  bool // the latest charge never reached the gateway
}

// readAttempts takes charges from before old for too old to be waited for.
func readAttempts(ctx context.Context, q postgres.Querier, s Subscription, old time.Time) (attempts, error) {
	var a attempts
	err := q.QueryRow(ctx, `
		WITH charges AS (SELECT * FROM payments WHERE subscription_id = $1 AND charged AND status IN ('pending', 'failed'))
		SELECT EXISTS (SELECT FROM charges WHERE status = 'pending'),
			EXISTS (SELECT FROM charges WHERE status = 'pending' AND (created_at > $4 OR review IS NOT NULL)),
			EXISTS (SELECT FROM charges WHERE period_start = $2 AND purpose = 'renewal' AND created_at <= $4
				AND (status = 'pending' OR gateway_status NOT IN ('', 'failed', 'refused', 'abandoned'))), -- we gave up asking, its bank may not have
			EXISTS (SELECT FROM charges WHERE period_start = $2 AND purpose = 'renewal' AND created_at > $4 AND status = 'pending' AND review IS NULL),
			EXISTS (SELECT FROM payments WHERE subscription_id = $1 AND period_start = $2 AND purpose = 'renewal' AND attempt = $3),
			coalesce((SELECT status = 'failed' AND gateway_status = '' FROM payments
			          WHERE subscription_id = $1 AND period_start = $2 AND purpose = 'renewal' AND charged AND attempt = $3
			          ORDER BY id DESC LIMIT 1), false)`, s.ID, s.PeriodEnd, s.Stage, old).
		Scan(&a.open, &a.waiting, &a.undecided, &a.paying, &a.tried, &a.lastLost)
	if err != nil {
		return a, fmt.Errorf("read the attempts of subscription %d: %w", s.ID, err)
	}
	return a, nil
}

// unsettled are the references with which a subscription may yet be paid for.
func unsettled(ctx context.Context, q postgres.Querier, s Subscription, mode string) ([]string, error) {
	rows, err := q.Query(ctx, `
		SELECT reference FROM payments WHERE subscription_id = $1 AND status IN ('pending', 'failed') AND mode = $2
			AND purpose = 'renewal' AND period_start = $3 AND gateway_status <> 'refused' ORDER BY id`, s.ID, mode, s.PeriodEnd)
	if err != nil {
		return nil, fmt.Errorf("find the open payments of subscription %d: %w", s.ID, err)
	}
	references, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find the open payments of subscription %d: %w", s.ID, err)
	}
	return references, nil
}

// openLink returns a checkout that was opened for the same not long ago and isn't paid.
func openLink(ctx context.Context, q postgres.Querier, p Payment, after time.Time) (Payment, error) {
	return onePayment(ctx, q, "find an open checkout", `
		WHERE p.subscription_id = $1 AND p.status = 'pending' AND NOT p.charged AND p.purpose = $2 AND p.period_start = $3 AND p.plan_id = $4
			AND p.amount_kobo = $5 AND p.credit_kobo = $7 AND p.authorization_url IS NOT NULL AND p.created_at > $6 ORDER BY p.id DESC LIMIT 1`,
		p.SubscriptionID, p.Purpose, p.PeriodStart, p.PlanID, p.AmountKobo, after, p.CreditKobo)
}

func subscriptionsOfAccount(ctx context.Context, q postgres.Querier, account accounts.ID) ([]Subscription, error) {
	return subscriptionsWhere(ctx, q, `WHERE s.account_id = $1 AND s.status <> 'ended' AND t.state NOT IN ('deleting', 'deleted') ORDER BY s.id`, account)
}
