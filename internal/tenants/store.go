package tenants

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// columns are those of Tenant, in the order that scanTenant reads them.
const columns = `id, account_id, name, db_name, coalesce(data_volume, ''), domain, coalesce(primary_domain, domain), coalesce(link_domain, domain), email, plan_id, state, desired, coalesce(suspended_by, ''),
	coalesce(suspend_reason, ''), coalesce(also_unpaid, ''), coalesce(also_over_quota, ''), coalesce(return_state, ''), coalesce(final_backup_skipped, ''), coalesce(failure, ''), payment_status,
	coalesce(payment_reference, ''), payment_deadline, coalesce(notes, ''), coalesce(host(address), ''), http_port, event_port,
	disk_usage_mb, created_at, updated_at, paid_at, activated_at, suspended_at, deletion_scheduled_at, deleted_at,
	quarantined_at, coalesce(quarantined_by, ''), coalesce(quarantine_cause, ''), neutralised_at, coalesce(copy_of, 0)`

func scanTenant(row pgx.CollectableRow) (Tenant, error) {
	var t Tenant
	err := row.Scan(&t.ID, &t.AccountID, &t.Name, &t.DBName, &t.DataVolume, &t.Domain, &t.PrimaryDomain, &t.LinkDomain, &t.Email, &t.PlanID, &t.State,
		&t.Desired, &t.SuspendedBy, &t.SuspendReason, &t.AlsoUnpaid, &t.AlsoOverQuota, &t.ReturnState, &t.FinalBackupSkipped, &t.Failure, &t.PaymentStatus,
		&t.PaymentReference, &t.PaymentDeadline, &t.Notes, &t.Address, &t.HTTPPort, &t.EventPort,
		&t.DiskUsageMB, &t.CreatedAt, &t.UpdatedAt, &t.PaidAt, &t.ActivatedAt, &t.SuspendedAt, &t.DeletionScheduledAt, &t.DeletedAt,
		&t.QuarantinedAt, &t.QuarantinedBy, &t.QuarantineCause, &t.NeutralisedAt, &t.CopyOf)
	return t, err
}

// one runs a query for one tenant; none is ErrNotFound.
func one(ctx context.Context, q postgres.Querier, doing, sql string, args ...any) (Tenant, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return Tenant{}, wrap(err, doing)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scanTenant)
	if postgres.NoRows(err) {
		return Tenant{}, ErrNotFound
	}
	return t, wrap(err, doing)
}

func many(ctx context.Context, q postgres.Querier, doing, sql string, args ...any) ([]Tenant, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, wrap(err, doing)
	}
	list, err := pgx.CollectRows(rows, scanTenant)
	return list, wrap(err, doing)
}
