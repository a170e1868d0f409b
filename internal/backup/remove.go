package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/ops"
)

// DeleteWorkflow removes what a backup has in the store. Its row stays.
func (w *Worker) DeleteWorkflow() ops.Workflow {
	return ops.Workflow{Kind: DeleteKind, Steps: []ops.Step{{Name: "remove", Timeout: 10 * time.Minute, Do: w.removeAll, Tx: w.removed}}}
}

func (w *Worker) removeAll(ctx context.Context, r *ops.Run) error {
	b, err := w.of(ctx, r)
	if err != nil {
		return err
	}
	if b.State != Deleting {
		return ops.Permanent(ErrInUse.WithCause(fmt.Errorf("backup %s is %s", b.ID, b.State)))
	}
	if err := w.removeObjects(ctx, b, nil); err != nil {
		return ops.Outage(fmt.Errorf("remove backup %s: %w", b.ID, err))
	}
	return nil
}

func (w *Worker) removed(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	b, err := setDeleted(ctx, tx, in.BackupID, w.now())
	if err != nil {
		return err
	}
	return alerts.Resolve(ctx, tx, alertBroken, b.ID.Subject())
}
