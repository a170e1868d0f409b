package backup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

const columns = `b.id, b.tenant_id, b.tenant_name, b.kind, b.state, b.key_prefix, b.requested_by, coalesce(b.operation_id, 0),
	b.stored_bytes, b.database_bytes, b.filestore_bytes, b.filestore_files, b.kept, b.weekly, b.monthly, coalesce(b.error, ''), b.quarantined,
	b.created_at, b.started_at, b.finished_at, b.verified_at, b.proven_at, b.proof_failed_at, coalesce(b.proof_error, ''), b.broken_at, b.deleted_at`

func scan(row pgx.CollectableRow) (Backup, error) {
	var b Backup
	err := row.Scan(&b.ID, &b.TenantID, &b.TenantName, &b.Kind, &b.State, &b.KeyPrefix, &b.RequestedBy, &b.OperationID,
		&b.StoredBytes, &b.DatabaseBytes, &b.FilestoreBytes, &b.FilestoreFiles, &b.Kept, &b.Weekly, &b.Monthly, &b.Error, &b.Quarantined,
		&b.CreatedAt, &b.StartedAt, &b.FinishedAt, &b.VerifiedAt, &b.ProvenAt, &b.ProofFailedAt, &b.ProofError, &b.BrokenAt, &b.DeletedAt)
	return b, err
}

func one(ctx context.Context, q postgres.Querier, doing, sql string, args ...any) (Backup, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return Backup{}, fmt.Errorf("%s: %w", doing, err)
	}
	b, err := pgx.CollectExactlyOneRow(rows, scan)
	switch {
	case postgres.NoRows(err):
		return Backup{}, ErrNotFound
	case postgres.UniqueViolation(err) == "backups_one_at_a_time":
		return Backup{}, ErrBusy.WithCause(err)
	case err != nil:
		return Backup{}, fmt.Errorf("%s: %w", doing, err)
	}
	return b, nil
}

func get(ctx context.Context, q postgres.Querier, id ID, lock string) (Backup, error) {
	return one(ctx, q, "read backup "+id.String(), "SELECT "+columns+" FROM backups b WHERE b.id = $1 "+lock, id)
}

func insert(ctx context.Context, q postgres.Querier, b Backup) (Backup, error) {
	return one(ctx, q, "record the backup", `
		INSERT INTO backups AS b (tenant_id, tenant_name, kind, state, key_prefix, requested_by, created_at, quarantined)
		SELECT $1, $2, $3, 'queued', $4, $5, $6, quarantined_at IS NOT NULL FROM tenants WHERE id = $1 RETURNING `+columns, b.TenantID, b.TenantName, b.Kind, b.KeyPrefix, b.RequestedBy, b.CreatedAt)
}

func setOperation(ctx context.Context, q postgres.Querier, id ID, op ops.ID) (Backup, error) {
	return one(ctx, q, "note the operation of backup "+id.String(),
		"UPDATE backups b SET operation_id = $2 WHERE id = $1 RETURNING "+columns, id, op)
}

func setState(ctx context.Context, q postgres.Querier, id ID, to State) error {
	_, err := one(ctx, q, "move backup "+id.String(), "UPDATE backups b SET state = $2 WHERE id = $1 RETURNING "+columns, id, to)
	return err
}

func setKept(ctx context.Context, q postgres.Querier, id ID, keep bool) (Backup, error) {
	return one(ctx, q, "mark backup "+id.String(), "UPDATE backups b SET kept = $2 WHERE id = $1 RETURNING "+columns, id, keep)
}

const (
	defaultPage = 50
	maxPage     = 1000
)

func list(ctx context.Context, q postgres.Querier, f Filter) (Page, error) {
	if f.Limit == 0 {
		f.Limit = defaultPage
	}
	if f.Skip < 0 || f.Limit < 1 || f.Limit > maxPage {
		return Page{}, ErrPageBounds
	}
	const where = ` FROM backups b WHERE b.state <> 'deleted' AND ($1 = 0 OR b.tenant_id = $1) AND ($2 = '' OR b.state = $2)
		AND ($3 = 0 OR b.tenant_id IN (SELECT id FROM tenants WHERE account_id = $3)) AND ($4 = '' OR b.tenant_name = $4)`
	args := []any{int64(f.TenantID), string(f.State), int64(f.AccountID), f.TenantName}
	var page Page
	if err := q.QueryRow(ctx, "SELECT count(*)"+where, args...).Scan(&page.Total); err != nil {
		return Page{}, fmt.Errorf("count backups: %w", err)
	}
	rows, err := q.Query(ctx, "SELECT "+columns+where+" ORDER BY b.id DESC OFFSET $5 LIMIT $6", append(args, f.Skip, f.Limit)...)
	if err != nil {
		return Page{}, fmt.Errorf("list backups: %w", err)
	}
	if page.Backups, err = pgx.CollectRows(rows, scan); err != nil {
		return Page{}, fmt.Errorf("list backups: %w", err)
	}
	return page, nil
}
