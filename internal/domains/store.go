package domains

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const columns = `id, tenant_id, domain, display, token, status, reason_code, reason, created_at, expires_at, verified_at, flagged_at, checked_at,
	next_check_at`

func scan(row pgx.CollectableRow) (Domain, error) {
	var d Domain
	err := row.Scan(&d.ID, &d.TenantID, &d.Name, &d.Display, &d.Token, &d.Status, &d.ReasonCode, &d.Reason, &d.CreatedAt, &d.ExpiresAt, &d.VerifiedAt,
		&d.FlaggedAt, &d.CheckedAt, &d.NextCheckAt)
	return d, err
}

// one runs a query for one domain; none is ErrNotFound.
func one(ctx context.Context, q postgres.Querier, doing, sql string, args ...any) (Domain, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return Domain{}, wrap(err, doing)
	}
	d, err := pgx.CollectExactlyOneRow(rows, scan)
	if postgres.NoRows(err) {
		return Domain{}, ErrNotFound
	}
	return d, wrap(err, doing)
}

func many(ctx context.Context, q postgres.Querier, doing, sql string, args ...any) ([]Domain, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, wrap(err, doing)
	}
	list, err := pgx.CollectRows(rows, scan)
	return list, wrap(err, doing)
}

func ofTenant(ctx context.Context, q postgres.Querier, id tenants.ID, name string) (Domain, error) {
	return one(ctx, q, "find the domain", "SELECT "+columns+" FROM tenant_domains WHERE tenant_id = $1 AND domain = $2", id, name)
}

// lockName has all who claim, prove or give up a domain take turns until tx ends. It is taken before any tenant's row is locked.
func lockName(ctx context.Context, tx pgx.Tx, name string) error {
	_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('domain/' || $1, 0))", name)
	return wrap(err, "wait for others with the same domain")
}

// update writes all that a check may change.
func update(ctx context.Context, tx pgx.Tx, d Domain) error {
	_, err := tx.Exec(ctx, `UPDATE tenant_domains SET status = $2, reason_code = $3, reason = $4, expires_at = $5, verified_at = $6, flagged_at = $7,
		checked_at = $8, next_check_at = $9 WHERE id = $1`,
		d.ID, d.Status, d.ReasonCode, clipped(d.Reason), d.ExpiresAt, d.VerifiedAt, d.FlaggedAt, d.CheckedAt, d.NextCheckAt)
	return wrap(err, "store what was found of the domain")
}

// clipped keeps a reason that names many addresses within its column's bound.
func clipped(reason string) string {
	const most = 500
	if runes := []rune(reason); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return reason
}

func remove(ctx context.Context, tx pgx.Tx, id ID) error {
	_, err := tx.Exec(ctx, "DELETE FROM tenant_domains WHERE id = $1", id)
	return wrap(err, "remove the domain")
}
