package backup

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// keptBefore is how long what was there before a restore stays, and what one left that was abandoned.
const keptBefore = 24 * time.Hour

// beingRestored reports whether a restore that hasn't ended needs the backup: as what is restored, or as what leads back. One that is asked for
// later waits for the backup's row.
func beingRestored(ctx context.Context, q postgres.Querier, b Backup) (needed bool, err error) {
	err = q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM operations WHERE subject = $1 AND finished_at IS NULL AND kind = $2
			AND (input->'backup_id' = to_jsonb($3::bigint) OR data->$4::text = to_jsonb($3::bigint)))`,
		b.TenantID.Subject(), RestoreKind, int64(b.ID), safetyKey).Scan(&needed)
	if err != nil {
		return false, fmt.Errorf("look whether backup %s is being restored: %w", b.ID, err)
	}
	return needed, nil
}

// lastRestore returns when the last restore of a tenant ended, the zero time if nobody remembers one, and whether nothing is being done with
// what restores leave.
func lastRestore(ctx context.Context, q postgres.Querier, subject string) (last time.Time, idle bool, err error) {
	var ended *time.Time
	err = q.QueryRow(ctx, `
		SELECT max(finished_at), count(*) FILTER (WHERE finished_at IS NULL) = 0
			AND NOT EXISTS (SELECT FROM tenants WHERE 'tenant/' || id = $1 AND state = $3)
		FROM operations WHERE subject = $1 AND kind = $2`, subject, RestoreKind, tenants.Maintenance).Scan(&ended, &idle)
	if err != nil {
		return last, false, fmt.Errorf("look for the restores of %s: %w", subject, err)
	}
	if ended != nil {
		last = *ended
	}
	return last, idle, nil
}

// sweepRestores drops what was there before restores that nobody took back, and what abandoned ones left.
func (w *Worker) sweepRestores(ctx context.Context) error {
	dropped, err := w.sweepRestoresBefore(ctx, w.now().Add(-keptBefore))
	if dropped > 0 {
		w.log.InfoContext(ctx, "dropped what was there before restores", "databases", dropped)
	}
	return err
}

func (w *Worker) sweepRestoresBefore(ctx context.Context, before time.Time) (dropped int, err error) {
	return w.cluster.SweepRestores(ctx, before, func(ctx context.Context, subject string) (time.Time, bool, error) {
		return lastRestore(ctx, w.pool, subject)
	})
}
