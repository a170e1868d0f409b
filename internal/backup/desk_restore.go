package backup

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// RestoreOrder is what a restore is asked for with.
type RestoreOrder struct {
	WithoutSafety bool   // don't back up the present state first
	Into          string // name of the client; "": the one that the backup is of. Another one becomes a copy
}

// Restore has a backup restored. Errors: ErrNotFound, tenants.ErrNotFound, ErrSafetyNeeded, ErrNotGood, ErrNotFull, ErrTooLarge, ErrNotNow,
// ErrTenantBusy.
func (d *Desk) Restore(ctx context.Context, r Request, id ID, o RestoreOrder) (ops.Operation, error) {
	b, err := d.Find(ctx, r.By, id)
	if err != nil {
		return ops.Operation{}, err
	}
	if o.WithoutSafety && !r.By.Admin {
		return ops.Operation{}, ErrSafetyNeeded
	}
	in := RestoreInput{WithoutSafety: o.WithoutSafety, By: r.By.Username}
	detail := map[string]any{"without_safety": o.WithoutSafety}
	if o.Into == "" {
		return d.deps.Backups.Restore(ctx, id, in, d.record(r, "backup.restore", detail))
	}
	t, err := d.deps.Tenants.Get(ctx, r.By, o.Into)
	if err != nil {
		return ops.Operation{}, err
	}
	if t.ID == b.TenantID {
		return d.deps.Backups.Restore(ctx, id, in, d.record(r, "backup.restore", detail))
	}
	in.Into, detail["into"], detail["of"] = t.ID, t.Name, b.TenantName
	return d.deps.Backups.Restore(ctx, id, in, d.record(r, "backup.restore", detail), d.recordOf(r, "backup.copy", t.ID, detail))
}

// Copying returns what makes a client that is just being created a copy of a backup, once it has been provisioned. Errors: ErrNotFound; and
// of what it returns: ErrNotFound, ErrNotGood, ErrNotFull, ErrTooLarge.
func (d *Desk) Copying(ctx context.Context, r Request, id ID) (func(ctx context.Context, tx pgx.Tx, t tenants.Tenant) error, error) {
	if _, err := d.Find(ctx, r.By, id); err != nil {
		return nil, err
	}
	return func(ctx context.Context, tx pgx.Tx, t tenants.Tenant) error {
		b, err := get(ctx, tx, id, "FOR UPDATE")
		if err == nil {
			err = usable(b)
		}
		if err == nil {
			err = fits(ctx, tx, b, t)
		}
		if err != nil {
			return err
		}
		if err := d.deps.Tenants.SetCopyOfTx(ctx, tx, t.ID, int64(id)); err != nil {
			return err
		}
		return d.recordOf(r, "backup.copy", t.ID, map[string]any{"into": t.Name, "of": b.TenantName})(ctx, tx, b)
	}, nil
}

// StillFits wants a client that is to be a copy, and has just been given another plan, to have room for it. Errors: ErrTooLarge.
func (d *Desk) StillFits(ctx context.Context, tx pgx.Tx, t tenants.Tenant) error {
	if t.CopyOf == 0 {
		return nil
	}
	b, err := get(ctx, tx, ID(t.CopyOf), "")
	if err != nil {
		return err
	}
	return fits(ctx, tx, b, t)
}

// usable wants b to be one that a tenant can be restored from alone.
func usable(b Backup) error {
	switch {
	case b.State == Deleted || b.State == Deleting:
		return ErrNotFound
	case !b.Good():
		return ErrNotGood
	case !b.Kind.Full():
		return ErrNotFull
	}
	return nil
}
