package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// startTries is how often what there was before is started after a restore that was taken back. Then the restore ends without it: what starts
// a client that should run is the reconciliation, for as long as it takes.
const startTries = 3

// besideVolume is the volume that a restore makes. It bears the operation's number, so that a repeat finds it and no other one does.
func (w *Worker) besideVolume(t tenants.Tenant, id ops.ID) string {
	t.DataVolume = ""
	first, _ := w.opts.Filestore(t)
	return fmt.Sprintf("%s_r%d", first, id)
}

// tool begins the names of what helps: the operation's own, since one backup may be restored into several tenants at once.
func (r restore) tool() string { return helperName(r.backup, fmt.Sprintf("r%d", r.ID)) }

// loadBeside restores into a new database and a new volume: nothing of it is seen yet, and nothing that is in use is written to. What an
// attempt before it left in the volume stays: files are named by what is in them, and each is written anew.
func (w *Worker) loadBeside(ctx context.Context, r restore) error {
	if r.copies() {
		if err := fits(ctx, w.pool, r.backup, r.tenant); err != nil { // its plan may be another one by now
			return err
		}
		if err := w.sameOdoo(ctx, r); err != nil {
			return err
		}
	}
	access, err := w.access(ctx, r.backup, r.tenant)
	if err != nil {
		return err
	}
	access.Tool = r.tool()
	if access.Database, err = w.cluster.BeginRestore(ctx, r.tenant.DBName, r.tenant.ID.Subject()); err != nil {
		return err
	}
	volume := w.besideVolume(r.tenant, r.ID)
	if err := noteSpare(ctx, w.pool, r.tenant.ID, volume, r.ID, w.now()); err != nil {
		return err
	}
	if err := w.runner.EnsureVolume(ctx, r.tenant, volume); err != nil {
		return err
	}
	_, dir := w.opts.Filestore(r.tenant)
	err = w.load(ctx, r.backup, place{access: access, volume: volume, dir: dir}, measured(ctx, r.Run))
	if err != nil || !r.copies() {
		return err
	}
	return w.runner.Adopt(ctx, r.tenant, access.Database)
}

// wantedEvery is how often what takes hours looks whether its tenant is deleted meanwhile; the deletion waits for it.
const wantedEvery = 5 * time.Second

// whileWanted cuts short what is done to a tenant that somebody deletes.
func (w *Worker) whileWanted(do func(ctx context.Context, r restore) error) func(ctx context.Context, r restore) error {
	return func(ctx context.Context, r restore) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			tick := time.NewTicker(wantedEvery)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if t, err := w.tenants.ByID(ctx, r.tenant.ID); err == nil && (t.State == tenants.Deleting || t.State == tenants.Deleted) {
					cancel(ErrTenantGone)
				}
			}
		}()
		err := do(ctx, r)
		if err != nil && errors.Is(context.Cause(ctx), ErrTenantGone) {
			return ErrTenantGone.WithCause(err)
		}
		return err
	}
}

// inTurn has what takes long wait for a place, of which others need some too.
func (w *Worker) inTurn(do func(ctx context.Context, r restore) error) func(ctx context.Context, r restore) error {
	return func(ctx context.Context, r restore) error {
		leave, ok := w.lanes.enter(laneRestores, r.tenant.AccountID)
		if !ok {
			return errWaiting
		}
		defer leave()
		return do(ctx, r)
	}
}

// alertLong is for a restore that was given up since it kept others waiting.
const alertLong = "restore.too_long"

func (w *Worker) tellLong(ctx context.Context, r restore, cause error) error {
	return alerts.Raise(ctx, w.pool, alerts.Alert{
		Kind: alertLong, Subject: r.tenant.ID.Subject(),
		Message: fmt.Sprintf("The restore of backup %s into %s was given up: %s", r.backup.ID, r.tenant.Name, safeText(cause)),
	})
}

// unload drops what was restored beside the tenant's. It is for what wasn't swapped, and runs even if nothing was loaded: what an earlier
// restore put aside isn't its business. What can't be dropped now goes with what restores leave, a day later.
func (w *Worker) unload(ctx context.Context, run *ops.Run) error {
	r, err := w.ofRestore(ctx, run)
	if err != nil {
		return err
	}
	err = errors.Join(
		w.dropHelpers(ctx, r.tool()),
		w.cluster.DropRestored(ctx, r.tenant.DBName, r.tenant.ID.Subject()),
		w.removeSpare(ctx, spare{TenantID: r.tenant.ID, Volume: w.besideVolume(r.tenant, r.ID)}))
	if err != nil && ctx.Err() == nil {
		w.log.Warn("what a restore made stays behind for now", "tenant", r.tenant.ID, "operation", run.ID, "error", err)
		return nil
	}
	return err
}

// swapAt is what the swap is known by, with the operation's number.
func swapAt(r *ops.Run) (time.Time, error) {
	var at time.Time
	ok, err := r.Get("swap_at", &at)
	if err == nil && !ok {
		err = errors.New("it wasn't noted when to swap")
	}
	return at, err
}

// swap exchanges the databases; the row says that the volumes are exchanged when this step's end is written. Odoo stands still from before the
// one until after the other, and a step that was cut short is repeated.
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

// volumeKey is under which a restore keeps which volume the tenant had before.
const volumeKey = "volume_before"

func (w *Worker) swapped(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	in, t, err := w.lockTenant(ctx, tx, r)
	if err != nil {
		return err
	}
	if err := r.Set(volumeKey, t.DataVolume); err != nil {
		return err
	}
	if err := w.isolate(ctx, tx, r, in, t); err != nil {
		return err
	}
	return w.exchange(ctx, tx, t, w.besideVolume(t, r.ID), r.ID)
}

// exchange has the tenant, which is locked, use another volume, and puts the one that it used aside.
func (w *Worker) exchange(ctx context.Context, tx pgx.Tx, t tenants.Tenant, volume string, id ops.ID) error {
	before, _ := w.opts.Filestore(t)
	if err := w.tenants.SetDataVolumeTx(ctx, tx, t.ID, volume); err != nil {
		return err
	}
	t.DataVolume = volume
	after, _ := w.opts.Filestore(t)
	if before == after {
		return nil
	}
	if err := dropSpare(ctx, tx, t.ID, after); err != nil {
		return err
	}
	return noteSpare(ctx, tx, t.ID, before, id, w.now())
}

// swapBack also starts what ran before: what there was is more than nothing, whatever else fails.
func (w *Worker) swapBack(ctx context.Context, run *ops.Run) error {
	r, err := w.ofRestore(ctx, run)
	if err != nil {
		return err
	}
	if r.tenant, err = w.putBack(ctx, run, r.tenant); err != nil {
		return err
	}
	return w.startBefore(ctx, r)
}

// waitOut has a step tried for as long as what it needs is away: nobody could do better.
func waitOut(err error) error {
	if errs.KindOf(err) == errs.Unavailable {
		return ops.Outage(err)
	}
	return err
}

// volumeBack has the tenant use the volume that it had before the swap. Where there was no database before, the restored one stays, and its
// files with it.
func (w *Worker) volumeBack(ctx context.Context, run *ops.Run, id tenants.ID) (t tenants.Tenant, err error) {
	var before, missing string
	swapped, err := run.Get(volumeKey, &before)
	if err == nil {
		_, err = run.Get(missingKey, &missing)
	}
	if err != nil {
		return t, err
	}
	err = postgres.InTx(ctx, w.pool, func(tx pgx.Tx) error {
		if t, err = w.tenants.Lock(ctx, tx, id); err != nil {
			return err
		}
		if !swapped || missing == missingDatabase || t.DataVolume != w.besideVolume(t, run.ID) {
			return nil
		}
		if err := w.exchange(ctx, tx, t, before, run.ID); err != nil {
			return err
		}
		if t, err = w.letOut(ctx, tx, run, t); err != nil {
			return err
		}
		t.DataVolume = before
		return nil
	})
	return t, err
}

// startBefore starts what there was before. An Odoo that doesn't answer doesn't hold the restore up, which would keep the client closed: its
// operators are told, and it is started again like any other that should run.
func (w *Worker) startBefore(ctx context.Context, r restore) error {
	active, err := wasActive(r.Run)
	if err != nil || r.tenant.State == tenants.Deleting {
		return err
	}
	if !active {
		return waitOut(w.runner.Prepare(ctx, r.tenant))
	}
	err = w.runner.Run(ctx, r.tenant)
	if err == nil || ctx.Err() != nil || r.Attempt < startTries {
		return err
	}
	w.log.Error("a client doesn't answer after a restore was taken back", "tenant", r.tenant.ID, "error", err)
	return alerts.Raise(ctx, w.pool, alerts.Alert{
		Kind: alertSilent, Subject: r.tenant.ID.Subject(),
		Message: fmt.Sprintf("The restore of backup %s into %s was taken back, and what was there before doesn't answer: %v", r.backup.ID, r.tenant.Name, err),
	})
}
