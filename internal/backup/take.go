package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/backup/archive"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

const (
	copyTimeout = 6 * time.Hour
	readTimeout = 6 * time.Hour
	slotWait    = 2 * time.Second
	// tries is for what a repetition might cure, patience for what ends by itself: about five minutes.
	tries    = 3
	patience = 9
	// lateFiles bounds the files that are fetched one by one, since they came while the others were copied.
	lateFiles = 20_000

	alertFailed = "backup.failed"
	alertBroken = "backup.broken"
)

// ErrFilesMissing fails a backup whose database speaks of files that aren't there.
var ErrFilesMissing = errs.New(errs.Conflict, "attachments_missing", "Files that the client's database speaks of are missing; our staff have been told.")

// ErrVolumeGone fails a backup of a tenant whose files were lost as a whole.
var ErrVolumeGone = errs.New(errs.Conflict, "volume_gone", "The volume with the client's files is gone; our staff have been told.")

// ErrTenantGone ends a backup whose tenant is deleted meanwhile.
var ErrTenantGone = errs.New(errs.Conflict, "client_deleted", "The client is deleted.")

// TakeWorkflow makes a backup: its parts are copied, the manifest is stored as the last, and only when all of it was read back it counts. What
// fails for good leaves nothing but its row.
func (w *Worker) TakeWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: TakeKind,
		Held: w.failHeld,
		Steps: []ops.Step{
			{Name: "copy", Timeout: copyTimeout, Do: w.taking(w.copyParts), Undo: w.giveUp},
			{Name: "seal", Timeout: 10 * time.Minute, Do: w.taking(w.seal)},
			{Name: "read back", Timeout: readTimeout, Do: w.taking(w.readBack), Tx: w.taken},
		},
	}
}

// taking wraps a step: its errors are noted for the owner, and end the backup when no repetition is likely to help.
func (w *Worker) taking(do func(ctx context.Context, r *ops.Run, b Backup, t tenants.Tenant) error) func(ctx context.Context, r *ops.Run) error {
	return func(ctx context.Context, r *ops.Run) error {
		b, err := w.of(ctx, r)
		if err != nil {
			return err
		}
		if b.State != Queued && b.State != Running {
			err := ErrInUse.WithCause(fmt.Errorf("backup %s is %s", b.ID, b.State))
			if b.State == Failed { // it was given up, and what it left is removed
				return ops.Unwind(err)
			}
			return ops.Permanent(err)
		}
		t, err := w.tenants.ByID(ctx, b.TenantID)
		if err != nil {
			return err
		}
		leave, ok := w.lanes.enter(laneOf(b.Kind), t.AccountID)
		if !ok {
			return ops.Snooze(slotWait)
		}
		defer leave()
		if !worthKeeping(t, b.Kind) {
			err = ErrTenantGone.WithCause(fmt.Errorf("tenant %s is %s", t.ID, t.State))
		}
		if err == nil {
			err = do(ctx, r, b, t)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		return w.judge(ctx, r, b, fmt.Errorf("back up tenant %s: %w", b.TenantID, err))
	}
}

// judge says what becomes of a backup after an error.
func (w *Worker) judge(ctx context.Context, r *ops.Run, b Backup, err error) error {
	if noteErr := setError(ctx, w.pool, b.ID, safeText(err)); noteErr != nil {
		return errors.Join(err, noteErr)
	}
	limit := tries
	var known *errs.Error
	switch {
	case errors.Is(err, ErrTooLong), errors.Is(err, ErrTenantGone), errors.Is(err, ErrNotOdoo), errors.Is(err, ErrToolVersion), errors.Is(err, ErrVolumeGone):
		limit = 0
	case errors.As(err, &known) && known.Kind == errs.Unavailable:
		limit = patience
	}
	if r.Attempt >= limit {
		return ops.Unwind(err)
	}
	return err
}

// copyParts stores the parts under names of this attempt's own, so that one that was taken for dead, and isn't, can't spoil them.
func (w *Worker) copyParts(ctx context.Context, r *ops.Run, b Backup, t tenants.Tenant) error {
	if err := setStarted(ctx, w.pool, b.ID, w.now()); err != nil {
		return err
	}
	access, err := w.access(ctx, b, t)
	if err != nil {
		return err
	}
	disk, err := w.tenants.Disk(ctx, t.ID)
	if err != nil {
		return err
	}
	total, err := expected(ctx, w.pool, b, disk.TotalBytes())
	if err != nil {
		return err
	}
	c := &copying{
		all: &passed{tell: measured(ctx, r), total: total}, Worker: w, run: r, backup: b, tenant: t, access: access, disk: disk, m: newManifest(b, t),
	}
	err = within(ctx, w.longest(max(total, disk.TotalBytes()), copyTimeout), func(ctx context.Context) error {
		if b.Kind.Full() {
			return c.copyAll(ctx)
		}
		return c.copyDatabase(ctx, func(context.Context, Snapshot) error { return nil })
	})
	if err != nil {
		return err
	}
	return r.Set("manifest", c.m)
}

// seal stores the manifest, and removes what other attempts left.
func (w *Worker) seal(ctx context.Context, r *ops.Run, b Backup, _ tenants.Tenant) error {
	m, err := written(r)
	if err != nil {
		return err
	}
	var stored bytes.Buffer
	part, err := w.keys.WriteManifest(&stored, m)
	if err != nil {
		return err
	}
	key := b.KeyPrefix + archive.ManifestObject
	if err := w.store.Put(ctx, key, &stored, part.StoredBytes); err != nil {
		return err
	}
	keep := map[string]bool{key: true, b.KeyPrefix + m.Dump.Object: true}
	if m.Filestore != nil {
		keep[b.KeyPrefix+m.Filestore.Object] = true
	}
	if err := w.removeObjects(ctx, b, keep); err != nil { // it goes with the backup, and is no reason to have none
		w.log.Warn("what earlier attempts at a backup stored stays behind for now", "backup", b.ID, "error", err)
	}
	return nil
}

// readBack is what makes a copy a backup.
func (w *Worker) readBack(ctx context.Context, r *ops.Run, b Backup, _ tenants.Tenant) error {
	m, err := written(r)
	if err != nil {
		return err
	}
	return w.prove(ctx, b, m)
}

// newManifest says what is copied; what is found out on the way comes to it.
func newManifest(b Backup, t tenants.Tenant) archive.Manifest {
	return archive.Manifest{
		Format: archive.Format, Prefix: b.KeyPrefix, Kind: string(b.Kind),
		TenantID: int64(t.ID), Tenant: t.Name, Domain: t.Domain, PlanID: t.PlanID,
	}
}

// written returns the manifest of what was copied.
func written(r *ops.Run) (m archive.Manifest, err error) {
	_, err = r.Get("manifest", &m)
	return m, err
}

// count makes a copy that was read back a backup.
func (w *Worker) count(ctx context.Context, tx pgx.Tx, r *ops.Run) (Backup, error) {
	var in input
	if err := r.Input(&in); err != nil {
		return Backup{}, err
	}
	m, err := written(r)
	if err != nil {
		return Backup{}, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return Backup{}, fmt.Errorf("encode the manifest: %w", err)
	}
	return setDone(ctx, tx, in.BackupID, m, text, w.now())
}

func (w *Worker) taken(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	b, err := w.count(ctx, tx, r)
	if err != nil {
		return err
	}
	return alerts.Resolve(ctx, tx, alertFailed, b.TenantID.Subject())
}

// giveUp says that the backup failed before it tidies up: a store that is out of reach must not keep the next from being taken. What it can't
// remove now goes with the row.
func (w *Worker) giveUp(ctx context.Context, r *ops.Run) error {
	b, err := w.of(ctx, r)
	if err != nil {
		return err
	}
	if b.State == Queued || b.State == Running {
		if b, err = setFailed(ctx, w.pool, b.ID, w.now()); err != nil {
			return err
		}
		if b.Error != ErrTenantGone.Message {
			if err := raiseFailed(ctx, w.pool, b); err != nil {
				return err
			}
		}
	}
	w.dropTakers(ctx, b)
	if err := w.removeObjects(ctx, b, nil); err != nil {
		w.log.Warn("the objects of a failed backup stay behind for now", "backup", b.ID, "error", err)
	}
	return nil
}

// dropTakers removes the containers that an attempt which was cut short worked with.
func (w *Worker) dropTakers(ctx context.Context, b Backup) {
	for _, what := range []string{"tool", "files"} {
		if err := w.volumes.RemoveContainer(ctx, helperName(b, what)); err != nil {
			w.log.Warn("a backup's container stays behind", "container", helperName(b, what), "error", err)
		}
	}
}
