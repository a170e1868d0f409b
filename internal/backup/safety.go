package backup

import (
	"context"
	"errors"
	"fmt"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

// safetyKey is under which a restore keeps the id of the backup of the present state.
const safetyKey = "safety"

// saveFirst backs up the present state, and waits for that. Where there is none any more, there is nothing that could be lost.
func (w *Worker) saveFirst(ctx context.Context, r restore) error {
	var err error
	if r.tenant, err = w.settle(ctx, r); err != nil {
		return err
	}
	missing, err := w.missing(ctx, r.tenant)
	if err != nil {
		return waitOut(err)
	}
	if missing != "" {
		r.Note(ctx, "The present state isn't backed up first: the "+missing+" is gone")
		return r.Set(missingKey, missing)
	}
	if r.in.WithoutSafety {
		r.Note(ctx, "The present state isn't backed up first: it was decided so")
		return nil
	}
	var id ID
	if _, err := r.Get(safetyKey, &id); err != nil {
		return err
	}
	if id == 0 {
		b, err := w.Take(ctx, TakeInput{TenantID: r.tenant.ID, Kind: Safety, By: accounts.System().Username})
		if errors.Is(err, ErrBusy) {
			return errWaiting
		}
		if err != nil {
			return err
		}
		if err := r.Set(safetyKey, b.ID); err != nil {
			return err
		}
		return errWaiting
	}
	b, err := w.Get(ctx, id)
	switch {
	case err != nil:
		return err
	case b.Good():
		return nil
	case b.State == Queued || b.State == Running:
		return errWaiting
	}
	return ErrNoSafety.WithCause(fmt.Errorf("backup %s is %s: %s", b.ID, b.State, b.Error))
}

// missingKey is under which a restore keeps what was gone before it.
const missingKey = "missing"

// What may be gone, as an owner reads it.
const (
	missingDatabase = "database"
	missingVolume   = "volume with the files"
)

// missing says what of the tenant's data is gone, or "".
func (w *Worker) missing(ctx context.Context, t tenants.Tenant) (string, error) {
	there, err := w.cluster.HasTenant(ctx, t.DBName, t.ID.Subject())
	if err == nil && !there {
		return missingDatabase, nil
	}
	if err != nil {
		return "", err
	}
	volume, _ := w.opts.Filestore(t)
	if there, err = w.volumes.HasVolume(ctx, volume, t.ID.String()); err == nil && !there {
		return missingVolume, nil
	}
	return "", err
}
