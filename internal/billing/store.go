package billing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const paymentColumns = `p.id, p.account_id, p.tenant_id, t.name, p.plan_id, p.billing_cycle, p.amount_kobo, p.credit_kobo, p.currency, p.mode, p.email,
	p.reference, coalesce(p.authorization_url, ''), p.status, p.purpose, coalesce(p.review, ''), p.gateway_status, p.refunded_kobo, coalesce(p.received_kobo, 0), p.created_at,
	p.paid_at, p.completed_at, coalesce(p.subscription_id, 0), p.period_start, p.period_end, coalesce(p.from_plan_id, ''), p.charged, p.attempt`

// The name is only shown; tenants' rows are read here, never written.
const fromPayments = ` FROM payments p JOIN tenants t ON t.id = p.tenant_id `

func scanPayment(row pgx.CollectableRow) (Payment, error) {
	var p Payment
	var start, end *time.Time
	err := row.Scan(&p.ID, &p.AccountID, &p.TenantID, &p.TenantName, &p.PlanID, &p.BillingCycle, &p.AmountKobo, &p.CreditKobo, &p.Currency, &p.Mode,
		&p.Email, &p.Reference, &p.AuthorizationURL, &p.Status, &p.Purpose, &p.Review, &p.GatewayStatus, &p.RefundedKobo, &p.ReceivedKobo, &p.CreatedAt, &p.PaidAt,
		&p.CompletedAt, &p.SubscriptionID, &start, &end, &p.FromPlanID, &p.Charged, &p.Attempt)
	if start != nil && end != nil {
		p.PeriodStart, p.PeriodEnd = *start, *end
	}
	return p, err
}

func onePayment(ctx context.Context, q postgres.Querier, doing, where string, args ...any) (Payment, error) {
	rows, err := q.Query(ctx, `SELECT `+paymentColumns+fromPayments+where, args...)
	if err != nil {
		return Payment{}, fmt.Errorf("%s: %w", doing, err)
	}
	p, err := pgx.CollectExactlyOneRow(rows, scanPayment)
	if postgres.NoRows(err) {
		return Payment{}, ErrPaymentNotFound
	}
	if err != nil {
		return Payment{}, fmt.Errorf("%s: %w", doing, err)
	}
	return p, nil
}

func paymentByReference(ctx context.Context, q postgres.Querier, reference string) (Payment, error) {
	return onePayment(ctx, q, "find the payment", `WHERE p.reference = $1`, reference)
}

// lockPayment is taken before the tenant's lock, always, so that the two can't wait for each other.
func lockPayment(ctx context.Context, tx pgx.Tx, reference string) (Payment, error) {
	return onePayment(ctx, tx, "lock the payment", `WHERE p.reference = $1 FOR UPDATE OF p`, reference)
}

func listPayments(ctx context.Context, q postgres.Querier, account accounts.ID, skip, limit int) ([]Payment, int, error) {
	return paymentPage(ctx, q, `WHERE p.account_id = $1`, `p.id DESC`, skip, limit, account)
}

func listReviews(ctx context.Context, q postgres.Querier, skip, limit int) ([]Payment, int, error) {
	return paymentPage(ctx, q, `WHERE p.review IS NOT NULL`, `p.id`, skip, limit)
}

// paymentPage returns a part of a list and the length of the whole; args are those of where.
func paymentPage(ctx context.Context, q postgres.Querier, where, order string, skip, limit int, args ...any) ([]Payment, int, error) {
	var total int
	if err := q.QueryRow(ctx, `SELECT count(*)`+fromPayments+where, args...).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the payments: %w", err)
	}
	page := fmt.Sprintf(` ORDER BY %s OFFSET $%d LIMIT $%d`, order, len(args)+1, len(args)+2)
	rows, err := q.Query(ctx, `SELECT `+paymentColumns+fromPayments+where+page, append(args, skip, limit)...)
	if err != nil {
		return nil, 0, fmt.Errorf("list the payments: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanPayment)
	if err != nil {
		return nil, 0, fmt.Errorf("list the payments: %w", err)
	}
	return list, total, nil
}

func insertPayment(ctx context.Context, q postgres.Querier, p Payment, nextCheck time.Time) (PaymentID, error) {
	var id PaymentID
	err := q.QueryRow(ctx, `
		INSERT INTO payments (account_id, tenant_id, plan_id, billing_cycle, amount_kobo, currency, mode, email, reference, created_at,
		                      next_check_at, purpose, subscription_id, period_start, period_end, from_plan_id, charged, attempt, credit_kobo)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, nullif($13::bigint, 0), $14, $15, nullif($16, ''), $17, $18, $19)
		RETURNING id`,
		p.AccountID, p.TenantID, p.PlanID, p.BillingCycle, p.AmountKobo, p.Currency, p.Mode, p.Email, p.Reference, p.CreatedAt,
		nextCheck, p.Purpose, p.SubscriptionID, instant(p.PeriodStart), instant(p.PeriodEnd), p.FromPlanID, p.Charged, p.Attempt, p.CreditKobo).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("store the payment: %w", err)
	}
	return id, nil
}

// exec is for statements on a row that the caller holds, or that may find nothing left to do.
func exec(ctx context.Context, q postgres.Querier, doing, sql string, args ...any) error {
	if _, err := q.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return nil
}

func setAuthorizationURL(ctx context.Context, q postgres.Querier, id PaymentID, url string) error {
	return exec(ctx, q, "store the checkout's address", `UPDATE payments SET authorization_url = $2 WHERE id = $1`, id, url)
}

// closeRefused leaves a payment alone that a webhook has finished meanwhile.
func closeRefused(ctx context.Context, q postgres.Querier, id PaymentID, now time.Time) error {
	return exec(ctx, q, "close a refused payment", `
		UPDATE payments SET status = 'failed', gateway_status = 'refused', next_check_at = NULL, last_checked_at = $2
		WHERE id = $1 AND status = 'pending'`, id, now)
}

func markPaid(ctx context.Context, tx pgx.Tx, id PaymentID, t Transaction, purpose Purpose, now time.Time) error {
	return exec(ctx, tx, "mark the payment as paid", `
		UPDATE payments SET status = 'success', purpose = $2, review = NULL, gateway_status = $3, gateway_id = nullif($4::bigint, 0),
			fees_kobo = $5, channel = nullif($6, ''), paid_at = $7, completed_at = $8, next_check_at = NULL, last_checked_at = $8
		WHERE id = $1`, id, purpose, t.Status, t.ID, t.FeesKobo, clip(t.Channel), t.PaidAt, now)
}

// markRefunded: money that went back before we had applied it never activated anything.
func markRefunded(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, note string, now time.Time) error {
	purpose := p.Purpose
	if p.Status != StatusSuccess {
		purpose = PurposeCredit
	}
	return exec(ctx, tx, "mark the payment as refunded", `
		UPDATE payments SET status = 'refunded', purpose = $2, review = $3, gateway_status = $4, gateway_id = coalesce(nullif($5::bigint, 0), gateway_id),
			paid_at = coalesce($6, paid_at), completed_at = coalesce(completed_at, $7), next_check_at = NULL, last_checked_at = $7
		WHERE id = $1`, p.ID, purpose, note, t.Status, t.ID, t.PaidAt, now)
}

func park(ctx context.Context, tx pgx.Tx, id PaymentID, t Transaction, why string, now time.Time) error {
	return exec(ctx, tx, "park the payment for review", `
		UPDATE payments SET review = $2, gateway_status = $3, gateway_id = nullif($4::bigint, 0), next_check_at = NULL, last_checked_at = $5
		WHERE id = $1`, id, why, clip(string(t.Status)), t.ID, now)
}

func noteGateway(ctx context.Context, tx pgx.Tx, id PaymentID, t Transaction) error {
	return exec(ctx, tx, "note the gateway's status", `UPDATE payments SET gateway_status = $2 WHERE id = $1 AND status = 'success'`,
		id, t.Status)
}

func schedule(ctx context.Context, tx pgx.Tx, id PaymentID, said GatewayStatus, status Status, next *time.Time, now time.Time) error {
	return exec(ctx, tx, "schedule the next look at the payment", `
		UPDATE payments SET gateway_status = $2, status = $3, next_check_at = $4, last_checked_at = $5, checks = checks + 1
		WHERE id = $1`, id, clip(string(said)), status, next, now)
}

// postpone is for a look that brought no answer, which doesn't count in the back-off.
func postpone(ctx context.Context, q postgres.Querier, reference string, next time.Time) error {
	return exec(ctx, q, "postpone the look at a payment", `
		UPDATE payments SET next_check_at = $2 WHERE reference = $1 AND next_check_at IS NOT NULL`, reference, next)
}

// hasten lets the poller look at once, but no more often than every pause.
func hasten(ctx context.Context, q postgres.Querier, id PaymentID, now time.Time, pause time.Duration) error {
	return exec(ctx, q, "hasten the look at a payment", `
		UPDATE payments SET next_check_at = $2
		WHERE id = $1 AND status = 'pending' AND next_check_at > $2 AND coalesce(last_checked_at, created_at) < $3`,
		id, now, now.Add(-pause))
}

func claimDue(ctx context.Context, q postgres.Querier, mode string, now time.Time, lease time.Duration, limit int) ([]string, error) {
	rows, err := q.Query(ctx, `
		UPDATE payments SET next_check_at = $3
		WHERE id IN (SELECT id FROM payments WHERE next_check_at <= $2 AND mode = $1
		             ORDER BY next_check_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
		RETURNING reference`, mode, now, now.Add(lease), limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// paidAndWaiting reads tenants' state; whether an operation is live is ops' to say.
func paidAndWaiting(ctx context.Context, q postgres.Querier, before time.Time) ([]tenants.ID, error) {
	rows, err := q.Query(ctx, `
		SELECT t.id FROM tenants t JOIN payments p ON p.tenant_id = t.id
		WHERE t.state = 'provisioning' AND p.purpose = 'activation' AND p.status IN ('success', 'refunded') AND p.completed_at < $1
		ORDER BY t.id`, before)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[tenants.ID])
}

// instant is NULL for the zero time.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// clip bounds what the gateway says before it is stored.
func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), 40)], "") }
