package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// RestoreKind is the kind of operation that restores a backup into its own tenant or another one. It is done to the tenant.
const RestoreKind = "tenant.restore"

const (
	loadTimeout  = 6 * time.Hour
	swapTimeout  = 6 * time.Minute // has room for what is started again when it is undone
	startTimeout = 5 * time.Minute
	safetyWait   = 2 * time.Second
)

// Errors of a restore; all are safe to show.
var (
	ErrNotFull      = errs.New(errs.Conflict, "backup_not_full", "This backup holds the database alone; choose one that holds the files too.")
	ErrTenantBusy   = errs.New(errs.Conflict, "operation_running", "Something else is being done with this client; try again when that has ended.")
	ErrNotNow       = errs.New(errs.Conflict, "not_restorable", "A client can be restored while it is active or suspended.")
	ErrNoSafety     = errs.New(errs.Unavailable, "safety_backup_failed", "The present state couldn't be backed up first, so nothing was restored.")
	ErrSafetyNeeded = errs.New(errs.Forbidden, "safety_backup_needed", "Only administrators may restore without backing up the present state first.")
	ErrNotTheSame   = errs.New(errs.Internal, "restore_differs", "What was restored isn't what was backed up; the client is as it was.")
	ErrDidNotStart  = errs.New(errs.Internal, "restored_not_starting", "Odoo didn't start on what was restored; the client is as it was.")
)

// RestoreInput is what a restore is asked for with.
type RestoreInput struct {
	WithoutSafety bool       // don't back up the present state first, which may not be possible any more
	Into          tenants.ID // a copy of it is made there; 0: the tenant that it is of
	By            string     // who asked; of a copy the owner reads it
}

// restoreInput is what it is enqueued with.
type restoreInput struct {
	TenantID      tenants.ID `json:"tenant_id"`
	BackupID      ID         `json:"backup_id"`
	WithoutSafety bool       `json:"without_safety,omitempty"`
	By            string     `json:"by,omitempty"`
}

// Restore asks for a full backup to be restored into the tenant that it is of, or another one. An operation on that which is held is given up for it: a
// restore is what helps a tenant whose data is gone, or whom an earlier restore left closed.
// Errors: ErrNotFound, ErrNotGood, ErrNotFull, ErrTooLarge, ErrNotNow, ErrTenantBusy.
func (s *Service) Restore(ctx context.Context, id ID, in RestoreInput, with ...also) (ops.Operation, error) {
	return s.order(ctx, id, with, func(ctx context.Context, tx pgx.Tx, b Backup) (order, error) {
		if err := usable(b); err != nil {
			return order{}, err
		}
		t, err := s.tenants.Lock(ctx, tx, cmp.Or(in.Into, b.TenantID))
		if err == nil && t.ID != b.TenantID {
			err = fits(ctx, tx, b, t)
		}
		if err != nil {
			return order{}, err
		}
		if !restorable(t) {
			return order{}, ErrNotNow
		}
		return order{
			kind: RestoreKind, subject: t.ID.Subject(), busy: ErrTenantBusy, instead: true,
			input: restoreInput{TenantID: t.ID, BackupID: b.ID, WithoutSafety: in.WithoutSafety, By: in.By},
		}, nil
	})
}

// restorable holds for one in maintenance too: if something goes on, it is busy, and if not, a restore was given up half-way.
func restorable(t tenants.Tenant) bool {
	return slices.Contains([]tenants.State{tenants.Active, tenants.Suspended, tenants.Maintenance}, t.State) && t.Desired != tenants.WantsDeleted
}

// RestoreWorkflow restores beside what runs, into a new database and a new volume, checks them, and only then swaps; until it has ended well
// everything is put back by itself. What was there before stays for a day. Odoo's sessions aren't part of a backup, so that everybody logs
// in again.
func (w *Worker) RestoreWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: RestoreKind,
		Steps: []ops.Step{
			{Name: "safety", Timeout: time.Minute, Do: w.restoring(w.saveFirst), Undo: w.giveUpCopy},
			{Name: "load", Timeout: loadTimeout, Do: w.restoring(w.inTurn(w.whileWanted(w.loadBeside))), Undo: w.unload},
			{Name: "pause", Tx: w.pause, Undo: w.unpause},
			{Name: swapStep, Timeout: swapTimeout, Do: w.restoring(w.swap), Tx: w.swapped, Undo: w.swapBack},
			{Name: startStep, Timeout: startTimeout, Do: w.restoring(w.startRestored), Tx: w.restored},
		},
	}
}

// restore is what the steps of one know.
type restore struct {
	*ops.Run
	in     restoreInput
	backup Backup
	tenant tenants.Tenant
}

func (w *Worker) ofRestore(ctx context.Context, r *ops.Run) (restore, error) {
	out := restore{Run: r}
	if err := r.Input(&out.in); err != nil {
		return out, err
	}
	var err error
	if out.backup, err = w.Get(ctx, out.in.BackupID); err != nil {
		return out, err
	}
	out.tenant, err = w.tenants.ByID(ctx, out.in.TenantID)
	return out, err
}

// restoring wraps a step: what a few repetitions don't cure is undone.
func (w *Worker) restoring(do func(ctx context.Context, r restore) error) func(ctx context.Context, r *ops.Run) error {
	return func(ctx context.Context, run *ops.Run) error {
		r, err := w.ofRestore(ctx, run)
		if err == nil && (r.tenant.State == tenants.Deleting || r.tenant.State == tenants.Deleted) {
			return ops.Unwind(ErrTenantGone)
		}
		if err == nil {
			err = do(ctx, r)
		}
		if err == nil || ctx.Err() != nil || errors.Is(err, errWaiting) {
			return waiting(err)
		}
		err = fmt.Errorf("restore backup %s into tenant %s: %w", r.in.BackupID, r.in.TenantID, err)
		limit := tries
		var known *errs.Error
		switch {
		case errors.Is(err, ErrTooLong):
			limit, err = 0, errors.Join(err, w.tellLong(ctx, r, err))
		case errors.Is(err, ErrNoSafety), errors.Is(err, ErrTenantGone), errors.Is(err, ErrNotTheSame), errors.Is(err, ErrNoSpace), errors.Is(err, ErrToolVersion),
			errors.Is(err, archive.ErrDamaged), errors.Is(err, archive.ErrWrongKey), errors.Is(err, ErrObjectMissing), errors.Is(err, ErrOtherOdoo),
			errors.Is(err, ErrTooLarge):
			limit = 0
		case errors.Is(err, ErrDidNotStart):
			limit = 2 // somebody is waiting
		case errors.As(err, &known) && known.Kind == errs.Unavailable:
			limit = patience
		}
		if run.Attempt >= limit {
			return ops.Unwind(err)
		}
		return err
	}
}

// errWaiting is returned by a step that waits for a backup.
var errWaiting = errors.New("waiting for a backup")

func waiting(err error) error {
	if errors.Is(err, errWaiting) {
		return ops.Snooze(safetyWait)
	}
	return err
}

// lockTenant locks the tenant that is restored into.
func (w *Worker) lockTenant(ctx context.Context, tx pgx.Tx, r *ops.Run) (in restoreInput, t tenants.Tenant, err error) {
	if err := r.Input(&in); err != nil {
		return in, t, err
	}
	t, err = w.tenants.Lock(ctx, tx, in.TenantID)
	return in, t, err
}

// pause has the edge say that the client is being worked on. One that is suspended stays so.
func (w *Worker) pause(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	_, t, err := w.lockTenant(ctx, tx, r)
	if err != nil {
		return err
	}
	if !restorable(t) {
		return ops.Unwind(ErrNotNow.WithCause(fmt.Errorf("tenant %s is %s", t.ID, t.State)))
	}
	if err := r.Set("swap_at", w.now()); err != nil { // before the swap, so that undoing it can tell it from an earlier one
		return err
	}
	was := t.State
	if was == tenants.Maintenance { // since a restore that was given up
		was = tenants.Active
	}
	if err := r.Set("was", was); err != nil || t.State != tenants.Active {
		return err
	}
	return w.tenants.MoveTx(ctx, tx, t.ID, []tenants.State{tenants.Active}, tenants.Maintenance, "a backup is being restored")
}

func (w *Worker) unpause(ctx context.Context, r *ops.Run) error {
	return postgres.InTx(ctx, w.pool, func(tx pgx.Tx) error { return w.goOn(ctx, tx, r, "nothing was restored") })
}

// goOn takes a tenant that was active back to that; one that is deleted meanwhile stays what it is.
func (w *Worker) goOn(ctx context.Context, tx pgx.Tx, r *ops.Run, reason string) error {
	_, t, err := w.lockTenant(ctx, tx, r)
	if err != nil || t.State != tenants.Maintenance {
		return err
	}
	return w.tenants.MoveTx(ctx, tx, t.ID, []tenants.State{tenants.Maintenance}, tenants.Active, reason)
}

// wasActive reports whether the tenant's Odoo ran before the restore.
func wasActive(r *ops.Run) (bool, error) {
	var was tenants.State
	_, err := r.Get("was", &was)
	return was == tenants.Active, err
}

func (w *Worker) startRestored(ctx context.Context, r restore) error {
	active, err := wasActive(r.Run)
	if err != nil {
		return err
	}
	if !active {
		return w.runner.Prepare(ctx, r.tenant)
	}
	if err := w.runner.Run(ctx, r.tenant); err != nil {
		return ErrDidNotStart.WithCause(err)
	}
	return nil
}

// restored ends it. That Odoo answered on what was restored proves the backup.
func (w *Worker) restored(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in restoreInput
	if err := r.Input(&in); err != nil {
		return err
	}
	active, err := wasActive(r)
	if err != nil {
		return err
	}
	if active {
		if err := setProven(ctx, tx, in.BackupID, w.now()); err != nil {
			return err
		}
	}
	// The restored database has the address that the tenant had then, which may be somebody else's by now.
	if err := w.tenants.ForgetLinksTx(ctx, tx, in.TenantID); err != nil {
		return err
	}
	if err := w.copied(ctx, tx, in); err != nil {
		return err
	}
	if err := alerts.Resolve(ctx, tx, alertLong, in.TenantID.Subject()); err != nil {
		return err
	}
	return w.goOn(ctx, tx, r, "a backup was restored")
}
