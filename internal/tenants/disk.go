package tenants

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// Disk is what a tenant had on disk when it was last measured.
type Disk struct {
	DatabaseBytes  int64      `json:"database_bytes"`
	FilestoreBytes int64      `json:"filestore_bytes"`
	MeasuredAt     time.Time  `json:"measured_at"`          // zero: never
	ToldPercent    int        `json:"-"`                    // of the quota, that the owner was told of last
	OverSince      *time.Time `json:"over_since,omitempty"` // when it was first found above what is borne
}

// TotalBytes is what counts against the plan's quota.
func (d Disk) TotalBytes() int64 { return d.DatabaseBytes + d.FilestoreBytes }

// TotalMB is TotalBytes in MiB, rounded up, as it is shown.
func (d Disk) TotalMB() int { return int((d.TotalBytes() + 1<<20 - 1) >> 20) }

const diskColumns = `d.database_bytes, d.filestore_bytes, d.measured_at, d.told_percent, d.over_since`

// Disk returns the tenant's last measurement, or a zero one.
func (s *Service) Disk(ctx context.Context, id ID) (Disk, error) { return disk(ctx, s.pool, id) }

// DiskTx is Disk within tx; the caller holds the tenant's Lock.
func (s *Service) DiskTx(ctx context.Context, tx pgx.Tx, id ID) (Disk, error) {
	return disk(ctx, tx, id)
}

func disk(ctx context.Context, q postgres.Querier, id ID) (Disk, error) {
	var d Disk
	err := q.QueryRow(ctx, `SELECT `+diskColumns+` FROM tenant_disks d WHERE d.tenant_id = $1`, id).
		Scan(&d.DatabaseBytes, &d.FilestoreBytes, &d.MeasuredAt, &d.ToldPercent, &d.OverSince)
	if postgres.NoRows(err) {
		return Disk{}, nil
	}
	if err != nil {
		return Disk{}, fmt.Errorf("read the disk usage of tenant %s: %w", id, err)
	}
	return d, nil
}

// SetDiskTx stores a measurement and what followed from it.
func (s *Service) SetDiskTx(ctx context.Context, tx pgx.Tx, id ID, d Disk) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO tenant_disks (tenant_id, database_bytes, filestore_bytes, measured_at, told_percent, over_since)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (tenant_id) DO UPDATE SET database_bytes = $2, filestore_bytes = $3, measured_at = $4, told_percent = $5, over_since = $6`,
		id, d.DatabaseBytes, d.FilestoreBytes, d.MeasuredAt, d.ToldPercent, d.OverSince)
	if err != nil {
		return fmt.Errorf("store the disk usage of tenant %s: %w", id, err)
	}
	_, err = tx.Exec(ctx, `UPDATE tenants SET disk_usage_mb = $2 WHERE id = $1 AND disk_usage_mb <> $2`, id, d.TotalMB())
	if err != nil {
		return fmt.Errorf("store the disk usage of tenant %s: %w", id, err)
	}
	return nil
}

// OnDisk returns the tenants that have a database and volumes, or may have.
func (s *Service) OnDisk(ctx context.Context) ([]Tenant, error) {
	return many(ctx, s.pool, "list the tenants that take disk", `SELECT `+columns+` FROM tenants
		WHERE state NOT IN ('pending', 'provisioning', 'deleting', 'deleted') AND activated_at IS NOT NULL ORDER BY id`)
}
