package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// DeskDeps is what a Desk works with; all but Now are required.
type DeskDeps struct {
	Pool    *pgxpool.Pool
	Backups *Service
	Tenants *tenants.Service
	Audit   *audit.Log
	Now     func() time.Time // nil: time.Now
}

// DeskOptions bound what owners may ask for; zero values mean the defaults.
type DeskOptions struct {
	PerDay   int           // backups that an owner may have taken in 24 hours, and as many neutralised, default 5
	MostKept int           // marks to keep a backup that a client may have, default 10
	LinkLife time.Duration // of links to download a backup, default 15 minutes
}

// Desk is where owners and administrators ask for things to be done with backups: it knows whose they are, sets limits and keeps the
// record. Somebody else's backup is not found.
type Desk struct {
	deps DeskDeps
	opts DeskOptions
}

// What the desk refuses.
var (
	ErrNotManual = errs.InvalidField("backup_type", "unknown", `backup_type must be "manual".`)
	ErrTooMany   = errs.New(errs.RateLimited, "too_many_backups", "This client has had as many backups by hand as are taken in a day.")
	ErrMostKept  = errs.New(errs.Conflict, "too_many_kept", "This client has as many backups marked to be kept as it may have; let go of another one first.")
	ErrLastGood  = errs.New(errs.Conflict, "last_good_backup", "This is the client's last good backup. It can be deleted when there is a newer one.")
)

// NewDesk checks the dependencies.
func NewDesk(deps DeskDeps, opts DeskOptions) (*Desk, error) {
	if deps.Pool == nil || deps.Backups == nil || deps.Tenants == nil || deps.Audit == nil {
		return nil, errors.New("the desk for backups lacks a dependency")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	opts.PerDay, opts.MostKept = cmp.Or(opts.PerDay, 5), cmp.Or(opts.MostKept, 10)
	opts.LinkLife = cmp.Or(opts.LinkLife, 15*time.Minute)
	return &Desk{deps: deps, opts: opts}, nil
}

// Request is who asks, and from where.
type Request struct {
	By accounts.Principal
	IP netip.Addr
}

// Order asks for a backup of a client by hand. Errors: ErrNotManual, tenants.ErrNotFound, ErrNothingThere, ErrBusy, ErrTooMany.
func (d *Desk) Order(ctx context.Context, r Request, client, kind string) (Backup, error) {
	if Kind(kind) != Manual {
		return Backup{}, ErrNotManual
	}
	t, err := d.deps.Tenants.Get(ctx, r.By, client)
	if err != nil {
		return Backup{}, err
	}
	var b Backup
	err = postgres.InTx(ctx, d.deps.Pool, func(tx pgx.Tx) error {
		var err error
		if b, err = d.deps.Backups.TakeTx(ctx, tx, TakeInput{TenantID: t.ID, Kind: Manual, By: r.By.Username}); err != nil {
			return err
		}
		if !r.By.Admin {
			if err := d.allowance(ctx, tx, b); err != nil {
				return err
			}
		}
		return d.record(r, "backup.take", nil)(ctx, tx, b)
	})
	if err != nil {
		return Backup{}, err
	}
	return b, nil
}

// allowance counts b too. What failed by our fault is nobody's turn. The tenant's row is locked, so no two count at once.
func (d *Desk) allowance(ctx context.Context, tx pgx.Tx, b Backup) error {
	day := d.deps.Now().Add(-24 * time.Hour)
	var n int
	var oldest *time.Time
	err := tx.QueryRow(ctx, `SELECT count(*), min(created_at) FROM backups
		WHERE tenant_id = $1 AND kind = 'manual' AND created_at > $2 AND state <> 'failed'`, b.TenantID, day).Scan(&n, &oldest)
	switch {
	case err != nil:
		return fmt.Errorf("count backups by hand: %w", err)
	case n <= d.opts.PerDay:
		return nil
	}
	return ErrTooMany.WithRetryAfter(oldest.Sub(day))
}

// Find returns a backup of the caller's. Errors: ErrNotFound.
func (d *Desk) Find(ctx context.Context, p accounts.Principal, id ID) (Backup, error) {
	b, err := d.owned(ctx, p, id)
	if err == nil && b.State == Deleted {
		return Backup{}, ErrNotFound
	}
	return b, err
}

// MaySee returns nil if the backup is, or was, the caller's. Errors: ErrNotFound.
func (d *Desk) MaySee(ctx context.Context, p accounts.Principal, id ID) error {
	_, err := d.owned(ctx, p, id)
	return err
}

func (d *Desk) owned(ctx context.Context, p accounts.Principal, id ID) (Backup, error) {
	b, err := d.deps.Backups.Get(ctx, id)
	if err != nil || p.Admin {
		return b, err
	}
	t, err := d.deps.Tenants.ByID(ctx, b.TenantID)
	if err != nil {
		return Backup{}, err
	}
	if t.AccountID != p.AccountID {
		return Backup{}, ErrNotFound
	}
	return b, nil
}

// List returns the caller's backups, and everybody's to an admin; what f says of accounts is overruled. Errors: ErrPageBounds.
func (d *Desk) List(ctx context.Context, p accounts.Principal, f Filter) (Page, error) {
	f.AccountID = p.AccountID
	if p.Admin {
		f.AccountID = 0
	}
	return d.deps.Backups.List(ctx, f)
}

// Verify has a backup read back again. Errors: ErrNotFound, ErrNotGood, ErrInUse.
func (d *Desk) Verify(ctx context.Context, r Request, id ID) (ops.Operation, error) {
	if _, err := d.Find(ctx, r.By, id); err != nil {
		return ops.Operation{}, err
	}
	return d.deps.Backups.Verify(ctx, id, d.record(r, "backup.verify", nil))
}

// Prove has a backup restored into a sandbox, and Odoo started on it. Errors: as of Service.Prove.
func (d *Desk) Prove(ctx context.Context, r Request, id ID) (ops.Operation, error) {
	if _, err := d.Find(ctx, r.By, id); err != nil {
		return ops.Operation{}, err
	}
	return d.deps.Backups.Prove(ctx, id, r.By.Username, d.record(r, "backup.prove", nil))
}

// Delete has a backup removed from the store. Only an administrator may take the last good one of a client that still lives.
// Errors: ErrNotFound, ErrKept, ErrInUse, ErrLastGood.
func (d *Desk) Delete(ctx context.Context, r Request, id ID) (ops.Operation, error) {
	b, err := d.Find(ctx, r.By, id)
	if err != nil {
		return ops.Operation{}, err
	}
	return d.deps.Backups.Delete(ctx, id, d.record(r, "backup.delete", nil), func(ctx context.Context, tx pgx.Tx, _ Backup) error {
		if r.By.Admin || !b.Good() || !b.Kind.Full() {
			return nil
		}
		return d.another(ctx, tx, b)
	})
}

// another looks for one that the client can do with instead of b. Two deletions at once would each find the other's: the client's row
// has them come one after the other.
func (d *Desk) another(ctx context.Context, tx pgx.Tx, b Backup) error {
	t, err := d.deps.Tenants.Lock(ctx, tx, b.TenantID)
	if err != nil {
		return err
	}
	var found bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM backups
		WHERE tenant_id = $1 AND id <> $2 AND state = 'done' AND broken_at IS NULL AND kind NOT IN ('hourly', 'imported'))`, b.TenantID, b.ID).Scan(&found)
	switch {
	case err != nil:
		return fmt.Errorf("look for another backup: %w", err)
	case !found && t.State != tenants.Deleted:
		return ErrLastGood
	}
	return nil
}

// Keep marks a backup as not to be pruned, or lets go of it. Errors: ErrNotFound, ErrNotGood, ErrMostKept.
func (d *Desk) Keep(ctx context.Context, r Request, id ID, keep bool) (Backup, error) {
	before, err := d.Find(ctx, r.By, id)
	if err != nil || before.Kept == keep {
		return before, err
	}
	return d.deps.Backups.Keep(ctx, id, keep, d.record(r, "backup.keep", map[string]any{"kept": keep}), func(ctx context.Context, tx pgx.Tx, b Backup) error {
		if !keep || r.By.Admin {
			return nil
		}
		if _, err := d.deps.Tenants.Lock(ctx, tx, b.TenantID); err != nil {
			return err
		}
		var n int
		err := tx.QueryRow(ctx, "SELECT count(*) FROM backups WHERE tenant_id = $1 AND kept AND state <> 'deleted'", b.TenantID).Scan(&n)
		switch {
		case err != nil:
			return fmt.Errorf("count the kept backups: %w", err)
		case n > d.opts.MostKept:
			return ErrMostKept
		}
		return nil
	})
}

// record notes in the activity log what was asked for.
func (d *Desk) record(r Request, action string, more map[string]any) also {
	return d.recordOf(r, action, 0, more)
}

// recordOf notes it as another client's than the backup is of, unless client is 0.
func (d *Desk) recordOf(r Request, action string, client tenants.ID, more map[string]any) also {
	return func(ctx context.Context, tx pgx.Tx, b Backup) error {
		detail := map[string]any{"backup": int64(b.ID), "backup_type": b.Kind}
		for k, v := range more {
			detail[k] = v
		}
		return d.deps.Audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(r.By.AccountID), Actor: r.By.Username, TenantID: int64(cmp.Or(client, b.TenantID)), Action: action, IP: r.IP, Detail: detail,
		})
	}
}
