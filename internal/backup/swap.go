package backup

import (
	"context"
	"errors"
	"time"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// swapAt is what the swap is known by, with the operation's number.
func swapAt(r *ops.Run) (time.Time, error) {
	var at time.Time
	ok, err := r.Get("swap_at", &at)
	if err == nil && !ok {
		err = errors.New("it wasn't noted when to swap")
	}
	return at, err
}

func (w *Worker) swap(ctx context.Context, r restore) error {
	at, err := swapAt(r.Run)
	if err != nil {
		return err
	}
	if err := w.runner.Halt(ctx, r.tenant); err != nil {
		return err
	}
	return w.cluster.SwapRestored(ctx, r.tenant.DBName, r.tenant.ID.Subject(), at, int64(r.ID))
}

// swapBack also starts what ran before: what there was is more than nothing, whatever else fails.
func (w *Worker) swapBack(ctx context.Context, run *ops.Run) error {
	r, err := w.ofRestore(ctx, run)
	if err != nil {
		return err
	}
	at, err := swapAt(run)
	if err != nil {
		return err
	}
	if err := w.runner.Halt(ctx, r.tenant); err != nil {
		return err
	}
	if err := w.cluster.UndoRestore(ctx, r.tenant.DBName, r.tenant.ID.Subject(), at, int64(run.ID)); err != nil {
		return err
	}
	active, err := wasActive(run)
	if err != nil || !active || r.tenant.State == tenants.Deleting {
		return err
	}
	return w.runner.Run(ctx, r.tenant)
}
