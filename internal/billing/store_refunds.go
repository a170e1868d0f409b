package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

const refundColumns = `r.id, r.payment_id, p.reference, p.account_id, p.tenant_id, t.name, r.amount_kobo, r.currency, r.state, r.reason,
	coalesce(r.requested_by, ''), r.end_subscription, r.to_credit, r.note, coalesce(r.gateway_id, 0), r.gateway_status, coalesce(r.error, ''), r.sends, r.sent_at, r.created_at,
	r.accepted_at, r.completed_at`

const fromRefunds = ` FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN tenants t ON t.id = p.tenant_id `

func scanRefund(row pgx.CollectableRow) (RefundOrder, error) {
	var r RefundOrder
	err := row.Scan(&r.ID, &r.PaymentID, &r.Reference, &r.AccountID, &r.TenantID, &r.TenantName, &r.AmountKobo, &r.Currency, &r.State, &r.Reason,
		&r.RequestedBy, &r.Ends, &r.ToCredit, &r.Note, &r.GatewayID, &r.GatewayStatus, &r.Error, &r.Sends, &r.SentAt, &r.CreatedAt, &r.AcceptedAt, &r.CompletedAt)
	return r, err
}

func queryRefunds(ctx context.Context, q postgres.Querier, where string, args ...any) ([]RefundOrder, error) {
	rows, err := q.Query(ctx, `SELECT `+refundColumns+fromRefunds+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read refunds: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanRefund)
	if err != nil {
		return nil, fmt.Errorf("read refunds: %w", err)
	}
	return list, nil
}

func refundByID(ctx context.Context, q postgres.Querier, id RefundID) (RefundOrder, error) {
	list, err := queryRefunds(ctx, q, `WHERE r.id = $1`, id)
	if err == nil && len(list) == 0 {
		err = ErrRefundUnknown
	}
	if err != nil {
		return RefundOrder{}, err
	}
	return list[0], nil
}

// refundsOf is only safe to act on under the payment's lock.
func refundsOf(ctx context.Context, tx pgx.Tx, payment PaymentID) ([]RefundOrder, error) {
	return queryRefunds(ctx, tx, `WHERE r.payment_id = $1 ORDER BY r.id`, payment)
}

func listRefunds(ctx context.Context, q postgres.Querier, skip, limit int) ([]RefundOrder, int, error) {
	var total int
	if err := q.QueryRow(ctx, `SELECT count(*) FROM refunds`).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the refunds: %w", err)
	}
	list, err := queryRefunds(ctx, q, `ORDER BY r.id DESC OFFSET $1 LIMIT $2`, skip, limit)
	return list, total, err
}

// refundable is what may still be given back of a payment whose row the caller holds: what came in, less what went back, is on its way
// or is claimed by a bank or, as a credit, was spent. It is 0 for one that was never paid.
func refundable(ctx context.Context, tx pgx.Tx, id PaymentID) (int64, error) {
	// Nobody spends the credit that it became while that is added up.
	if err := exec(ctx, tx, "lock the credit", `SELECT id FROM credits WHERE payment_id = $1 FOR UPDATE`, id); err != nil {
		return 0, err
	}
	var left int64
	err := tx.QueryRow(ctx, `
		SELECT CASE
				WHEN p.gateway_id IS NULL THEN 0
				WHEN p.status = 'success' THEN p.amount_kobo
				WHEN p.status IN ('pending', 'failed') AND p.review IS NOT NULL THEN coalesce(p.received_kobo, 0)
				ELSE 0 END
			- (SELECT coalesce(sum(used_kobo), 0) FROM credits WHERE payment_id = p.id)
			- (SELECT coalesce(sum(amount_kobo), 0) FROM refunds WHERE payment_id = p.id AND state <> 'failed' AND NOT to_credit)
			- (SELECT coalesce(sum(amount_kobo), 0) FROM disputes WHERE payment_id = p.id AND outcome <> 'won')
		FROM payments p WHERE p.id = $1`, id).Scan(&left)
	if err != nil {
		return 0, fmt.Errorf("add up what is left of the payment: %w", err)
	}
	return left, nil
}

func gatewayID(ctx context.Context, q postgres.Querier, id PaymentID) (int64, error) {
	var transaction int64
	if err := q.QueryRow(ctx, `SELECT coalesce(gateway_id, 0) FROM payments WHERE id = $1`, id).Scan(&transaction); err != nil {
		return 0, fmt.Errorf("read the gateway's id of payment %d: %w", id, err)
	}
	return transaction, nil
}

func insertRefund(ctx context.Context, tx pgx.Tx, r RefundOrder, next time.Time) (RefundID, error) {
	var id RefundID
	err := tx.QueryRow(ctx, `
		INSERT INTO refunds (payment_id, amount_kobo, currency, state, reason, requested_by, note, gateway_id, created_at, next_check_at,
		                     end_subscription, to_credit)
		VALUES ($1, $2, $3, $4, $5, nullif($6, ''), $7, nullif($8::bigint, 0), $9, $10, $11, $12) RETURNING id`,
		r.PaymentID, r.AmountKobo, r.Currency, r.State, r.Reason, r.RequestedBy, r.Note, r.GatewayID, r.CreatedAt, next, r.Ends, r.ToCredit).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("store the refund: %w", err)
	}
	return id, nil
}

// markSent reports whether the caller is the one who may send it now: nobody else has since it was read.
func markSent(ctx context.Context, q postgres.Querier, r RefundOrder, now, next time.Time) (bool, error) {
	tag, err := q.Exec(ctx, `
		UPDATE refunds SET sends = sends + 1, sent_at = $3, next_check_at = $4 WHERE id = $1 AND state = 'requested' AND sends = $2`,
		r.ID, r.Sends, now, next)
	if err != nil {
		return false, fmt.Errorf("note that refund %d is sent: %w", r.ID, err)
	}
	return tag.RowsAffected() == 1, nil
}

// saveRefund writes what the gateway's word changed, on a row whose payment the caller holds.
func saveRefund(ctx context.Context, tx pgx.Tx, r RefundOrder, next *time.Time) error {
	return exec(ctx, tx, "store the refund's state", `
		UPDATE refunds SET state = $2, gateway_id = nullif($3::bigint, 0), gateway_status = $4, amount_kobo = $5, error = nullif($6, ''), accepted_at = $7,
			completed_at = $8, next_check_at = $9
		WHERE id = $1`, r.ID, r.State, r.GatewayID, clip(string(r.GatewayStatus)), r.AmountKobo, r.Error, r.AcceptedAt, r.CompletedAt, next)
}

// postponeRefund leaves alone what has ended meanwhile.
func postponeRefund(ctx context.Context, q postgres.Querier, id RefundID, next time.Time) error {
	return exec(ctx, q, "postpone the look at a refund", `UPDATE refunds SET next_check_at = $2 WHERE id = $1 AND next_check_at IS NOT NULL`, id, next)
}

func claimRefunds(ctx context.Context, q postgres.Querier, mode string, now time.Time, lease time.Duration, limit int) ([]RefundOrder, error) {
	rows, err := q.Query(ctx, `
		UPDATE refunds SET next_check_at = $3
		WHERE id IN (SELECT r.id FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE r.next_check_at <= $2 AND p.mode = $1
		             ORDER BY r.next_check_at, r.id LIMIT $4 FOR UPDATE OF r SKIP LOCKED)
		RETURNING id`, mode, now, now.Add(lease), limit)
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[RefundID])
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	return queryRefunds(ctx, q, `WHERE r.id = ANY($1) ORDER BY r.id`, ids)
}

// returned is what went back of a payment for good: by refunds and by disputes that were lost.
func returned(ctx context.Context, tx pgx.Tx, id PaymentID) (int64, error) {
	var kobo int64
	err := tx.QueryRow(ctx, `
		SELECT (SELECT coalesce(sum(amount_kobo), 0) FROM refunds WHERE payment_id = $1 AND state = 'processed' AND NOT to_credit)
			+ (SELECT coalesce(sum(amount_kobo), 0) FROM disputes WHERE payment_id = $1 AND outcome = 'lost')`, id).Scan(&kobo)
	if err != nil {
		return 0, fmt.Errorf("add up what went back: %w", err)
	}
	return kobo, nil
}

func setRefunded(ctx context.Context, tx pgx.Tx, id PaymentID, kobo int64) error {
	return exec(ctx, tx, "note what went back", `UPDATE payments SET refunded_kobo = $2 WHERE id = $1`, id, kobo)
}

// setAllRefunded: money that went back before it was applied never paid for anything.
func setAllRefunded(ctx context.Context, tx pgx.Tx, p Payment, kobo int64, now time.Time) error {
	purpose := p.Purpose
	if p.Status != StatusSuccess && p.Status != StatusRefunded {
		purpose = PurposeCredit
	}
	return exec(ctx, tx, "mark the payment as refunded", `
		UPDATE payments SET status = 'refunded', purpose = $2, review = NULL, refunded_kobo = $3, completed_at = coalesce(completed_at, $4),
			next_check_at = NULL
		WHERE id = $1`, p.ID, purpose, kobo, now)
}

// decideCredit is for the money's having gone back, also if it was to be kept at first.
func decideCredit(ctx context.Context, tx pgx.Tx, id PaymentID, resolution string, now time.Time) error {
	return exec(ctx, tx, "settle the credit", `
		UPDATE credits SET resolution = $2, resolved_at = $3, resolved_by = 'system' WHERE payment_id = $1`, id, resolution, now)
}
