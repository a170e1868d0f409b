package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// insertEvent returns 0 for an event that is there already.
func insertEvent(ctx context.Context, tx pgx.Tx, e Event, body []byte, outcome string, now time.Time) (int64, error) {
	var id int64
	err := tx.QueryRow(ctx, `
		INSERT INTO payment_events (dedupe_key, event, reference, body, received_at, outcome, applied_at)
		VALUES ($1, $2, nullif($3, ''), $4, $5::timestamptz, nullif($6, ''), CASE WHEN $6 <> '' THEN $5::timestamptz END)
		ON CONFLICT (dedupe_key) DO NOTHING
		RETURNING id`, e.Key, e.Name, e.Reference, body, now, outcome).Scan(&id)
	if postgres.NoRows(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("store the event: %w", err)
	}
	return id, nil
}

func eventSubject(ctx context.Context, q postgres.Querier, id int64) (name, reference string, err error) {
	err = q.QueryRow(ctx, `SELECT event, coalesce(reference, '') FROM payment_events WHERE id = $1`, id).Scan(&name, &reference)
	return name, reference, err
}

func markEventApplied(ctx context.Context, tx pgx.Tx, id int64, outcome string, now time.Time) error {
	return exec(ctx, tx, "mark the event as applied", `UPDATE payment_events SET applied_at = $2, outcome = $3 WHERE id = $1`, id, now, outcome)
}

func insertCredit(ctx context.Context, tx pgx.Tx, p Payment, reason string, now time.Time) error {
	return exec(ctx, tx, "store the credit", `
		INSERT INTO credits (account_id, payment_id, amount_kobo, currency, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		p.AccountID, p.ID, p.AmountKobo, p.Currency, reason, now)
}

func listCredits(ctx context.Context, q postgres.Querier, skip, limit int) ([]Credit, int, error) {
	var total int
	if err := q.QueryRow(ctx, `SELECT count(*) FROM credits`).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the credits: %w", err)
	}
	rows, err := q.Query(ctx, `
		SELECT c.id, c.account_id, c.payment_id, p.reference, t.name, c.amount_kobo, c.used_kobo, c.currency, c.reason, coalesce(c.resolution, ''), c.created_at
		FROM credits c JOIN payments p ON p.id = c.payment_id JOIN tenants t ON t.id = p.tenant_id
		ORDER BY c.id DESC OFFSET $1 LIMIT $2`, skip, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("list the credits: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Credit, error) {
		var c Credit
		err := row.Scan(&c.ID, &c.AccountID, &c.PaymentID, &c.Reference, &c.TenantName, &c.AmountKobo, &c.UsedKobo, &c.Currency, &c.Reason, &c.Resolution, &c.CreatedAt)
		return c, err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list the credits: %w", err)
	}
	return list, total, nil
}
