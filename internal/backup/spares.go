package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// spare is a volume that a restore made or put aside: nothing uses it.
type spare struct {
	TenantID tenants.ID
	Volume   string
}

// noteSpare writes down that nothing uses the volume since, whether it is there yet or not.
func noteSpare(ctx context.Context, q postgres.Querier, id tenants.ID, volume string, op ops.ID, since time.Time) error {
	_, err := q.Exec(ctx, `INSERT INTO spare_volumes (tenant_id, volume, operation_id, since) VALUES ($1, $2, $3, $4)
		ON CONFLICT (tenant_id, volume) DO UPDATE SET operation_id = $3, since = $4`, id, volume, op, since)
	if err != nil {
		return fmt.Errorf("note the spare volume %s: %w", volume, err)
	}
	return nil
}

func dropSpare(ctx context.Context, q postgres.Querier, id tenants.ID, volume string) error {
	if _, err := q.Exec(ctx, `DELETE FROM spare_volumes WHERE tenant_id = $1 AND volume = $2`, id, volume); err != nil {
		return fmt.Errorf("forget the spare volume %s: %w", volume, err)
	}
	return nil
}

// removeSpare removes a volume unless its tenant uses it.
func (w *Worker) removeSpare(ctx context.Context, s spare) error {
	t, err := w.tenants.ByID(ctx, s.TenantID)
	if err != nil {
		return err
	}
	if used, _ := w.opts.Filestore(t); used != s.Volume || t.State == tenants.Deleted {
		err = w.volumes.RemoveVolumeOf(ctx, s.Volume, s.TenantID.String())
	}
	if err != nil {
		return fmt.Errorf("remove the spare volume %s: %w", s.Volume, err)
	}
	return dropSpare(ctx, w.pool, s.TenantID, s.Volume)
}

// sweepSpares removes what nothing has used since before, of tenants with whom no restore is going on, and returns how many.
func (w *Worker) sweepSpares(ctx context.Context, before time.Time) (removed int, err error) {
	rows, err := w.pool.Query(ctx, `SELECT tenant_id, volume FROM spare_volumes WHERE since < $1 ORDER BY since`, before)
	if err != nil {
		return 0, fmt.Errorf("list the spare volumes: %w", err)
	}
	spares, err := pgx.CollectRows(rows, pgx.RowToStructByPos[spare])
	if err != nil {
		return 0, fmt.Errorf("list the spare volumes: %w", err)
	}
	for _, s := range spares {
		_, idle, err := lastRestore(ctx, w.pool, s.TenantID.Subject())
		if err != nil {
			return removed, err
		}
		if !idle {
			continue
		}
		if err := w.removeSpare(ctx, s); err != nil {
			w.log.Warn("a spare volume stays behind", "volume", s.Volume, "error", err)
			continue
		}
		removed++
	}
	return removed, nil
}
