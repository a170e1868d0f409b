package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
)

func insertRun(ctx context.Context, q postgres.Querier, run *ReconcileRun) error {
	err := q.QueryRow(ctx, `
		INSERT INTO reconciliation_runs (mode, from_at, to_at, started_at) VALUES ($1, $2, $3, $4) RETURNING id`,
		run.Mode, run.From, run.To, run.StartedAt).Scan(&run.ID)
	if err != nil {
		return fmt.Errorf("begin a reconciliation: %w", err)
	}
	return nil
}

func updateRun(ctx context.Context, q postgres.Querier, run ReconcileRun) error {
	return exec(ctx, q, "end a reconciliation", `
		UPDATE reconciliation_runs SET finished_at = $2, error = nullif($3, ''), transactions = $4, payments = $5, disputes = $6, healed = $7,
			differences = $8
		WHERE id = $1`, run.ID, run.FinishedAt, run.Error, run.Transactions, run.Payments, run.Disputes, run.Healed, run.Differences)
}

const counterpartColumns = `p.id, p.reference, p.status, coalesce(p.review, ''), p.mode, p.currency, p.amount_kobo, coalesce(p.received_kobo, 0),
	p.refunded_kobo, coalesce(p.fees_kobo, -1),
	(SELECT coalesce(sum(r.amount_kobo), 0)::bigint FROM refunds r WHERE r.payment_id = p.id AND r.state = 'processed' AND NOT r.to_credit),
	EXISTS (SELECT FROM refunds r WHERE r.payment_id = p.id AND r.state IN ('requested', 'pending', 'needs_attention'))
		OR EXISTS (SELECT FROM disputes d WHERE d.payment_id = p.id AND d.outcome = 'open')`

func queryCounterparts(ctx context.Context, q postgres.Querier, where string, args ...any) ([]counterpart, error) {
	rows, err := q.Query(ctx, `SELECT `+counterpartColumns+` FROM payments p `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read payments to compare: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[counterpart])
	if err != nil {
		return nil, fmt.Errorf("read payments to compare: %w", err)
	}
	return list, nil
}

// listedPayments returns ours by their references, and marks them as listed in this run.
func listedPayments(ctx context.Context, q postgres.Querier, references []string, run time.Time) (map[string]counterpart, error) {
	list, err := queryCounterparts(ctx, q, `WHERE p.reference = ANY($1)`, references)
	if err != nil {
		return nil, err
	}
	ours := make(map[string]counterpart, len(list))
	for _, c := range list {
		ours[c.Reference] = c
	}
	return ours, exec(ctx, q, "mark payments as listed", `UPDATE payments SET reconciled_at = $2 WHERE reference = ANY($1)`, references, run)
}

// unlistedPayments returns those with money that the gateway's list of this run lacked.
func unlistedPayments(ctx context.Context, q postgres.Querier, run ReconcileRun, after PaymentID, limit int) ([]counterpart, error) {
	return queryCounterparts(ctx, q, `
		WHERE p.mode = $1 AND p.id > $2 AND (p.status IN ('success', 'refunded') OR p.review IS NOT NULL)
			AND p.amount_kobo > 0 AND p.created_at BETWEEN $3 AND $4 AND p.reconciled_at IS DISTINCT FROM $5
		ORDER BY p.id LIMIT $6`, run.Mode, after, run.From, run.To, run.StartedAt, limit)
}

func countPayment(ctx context.Context, q postgres.Querier, reference string) (counterpart, error) {
	list, err := queryCounterparts(ctx, q, `WHERE p.reference = $1`, reference)
	if err == nil && len(list) == 0 {
		err = ErrPaymentNotFound
	}
	if err != nil {
		return counterpart{}, err
	}
	return list[0], nil
}

// saveDifference writes a difference, or notes that an open one was seen again. One that was explained is open again only if either side
// says something else by now.
func saveDifference(ctx context.Context, q postgres.Querier, run ReconcileRun, d mismatch, now time.Time) error {
	return exec(ctx, q, "store a difference", `
		INSERT INTO reconciliation_differences (mode, kind, reference, payment_id, ours, theirs, first_run, last_run, first_seen, last_seen)
		VALUES ($1, $2, $3, nullif($4::bigint, 0), $5, $6, $7, $7, $8, $8)
		ON CONFLICT (mode, kind, reference) WHERE resolution IS DISTINCT FROM 'gone' DO UPDATE SET
			last_run = EXCLUDED.last_run, last_seen = EXCLUDED.last_seen, ours = EXCLUDED.ours, theirs = EXCLUDED.theirs,
			resolution = CASE WHEN reconciliation_differences.ours = EXCLUDED.ours AND reconciliation_differences.theirs = EXCLUDED.theirs
				THEN reconciliation_differences.resolution END,
			resolved_at = CASE WHEN reconciliation_differences.ours = EXCLUDED.ours AND reconciliation_differences.theirs = EXCLUDED.theirs
				THEN reconciliation_differences.resolved_at END`,
		run.Mode, d.Kind, d.Reference, d.PaymentID, d.Ours, d.Theirs, run.ID, now)
}

func countDifferences(ctx context.Context, pool *pgxpool.Pool, mode string) (int64, error) {
	var n int64
	err := pool.QueryRow(ctx, `SELECT count(*) FROM reconciliation_differences WHERE mode = $1 AND resolved_at IS NULL`, mode).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the differences: %w", err)
	}
	return n, nil
}

func unseenDifferences(ctx context.Context, q postgres.Querier, run ReconcileRun, after int64, limit int) ([]Difference, error) {
	return queryDifferences(ctx, q, `WHERE d.mode = $1 AND d.resolved_at IS NULL AND d.last_run <> $2 AND d.id > $3 ORDER BY d.id LIMIT $4`,
		run.Mode, run.ID, after, limit)
}

// dropUnseen resolves what this run has looked for and not found any more.
func dropUnseen(ctx context.Context, q postgres.Querier, run ReconcileRun, now time.Time) error {
	return exec(ctx, q, "resolve differences", `
		UPDATE reconciliation_differences SET resolution = 'gone', resolved_at = $3, resolved_by = 'system'
		WHERE mode = $1 AND resolved_at IS NULL AND last_run <> $2 AND kind NOT IN ($4, $5)`, run.Mode, run.ID, now,
		differenceDispute, differenceRefund)
}
