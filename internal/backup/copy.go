package backup

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// A backup that is restored into another client than its own makes a copy, which starts in quarantine: it could otherwise send the original's
// mail once more, and do its work. The quarantine is the tenants' rows' business; here it begins with the swap.

// What a copy refuses.
var (
	ErrTooLarge  = errs.New(errs.Conflict, "backup_too_large", "The client's plan has less room than this backup takes.")
	ErrOtherOdoo = errs.New(errs.Conflict, "other_odoo", "The backup is of another version of Odoo than the client has.")
)

// alertCopyFailed is for a new client that was to be a copy and isn't.
const alertCopyFailed = "restore.copy_failed"

// copies reports whether what is restored is another client's.
func (r restore) copies() bool { return r.backup.TenantID != r.tenant.ID }

// fits wants the tenant's plan to have room for the backup.
func fits(ctx context.Context, q postgres.Querier, b Backup, t tenants.Tenant) error {
	const gigabyte = 1 << 30
	var room int64
	if err := q.QueryRow(ctx, "SELECT storage_gb FROM plans WHERE id = $1", t.PlanID).Scan(&room); err != nil {
		return fmt.Errorf("look how much room plan %s has: %w", t.PlanID, err)
	}
	if takes := b.DatabaseBytes + b.FilestoreBytes; takes > room*gigabyte {
		return ErrTooLarge.WithMessage("This backup takes %.1f GB, and the plan of client %s has room for %d GB.",
			float64(takes)/gigabyte, t.Name, room)
	}
	return nil
}

// sameOdoo wants the copy to be of the Odoo that the tenant has: another one's database isn't for its programs. Who has none any more can only
// be tried.
func (w *Worker) sameOdoo(ctx context.Context, r restore) error {
	m, err := w.readManifest(ctx, r.backup.KeyPrefix)
	if err != nil {
		return err
	}
	missing, err := w.missing(ctx, r.tenant)
	if err != nil || missing == missingDatabase {
		return err
	}
	access, err := w.access(ctx, r.backup, r.tenant)
	if err != nil {
		return err
	}
	access.Tool = r.tool()
	snapshot, err := w.database.Snapshot(ctx, access)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	has, _, err := snapshot.Describe(ctx)
	if err == nil && release(has.OdooVersion) != release(m.Database.OdooVersion) {
		err = ErrOtherOdoo.WithMessage("The backup is of Odoo %s, and client %s has Odoo %s.",
			release(m.Database.OdooVersion), r.tenant.Name, release(has.OdooVersion))
	}
	return err
}

// release is what all versions of an Odoo release have in common: "19.0" of "19.0.1.3".
func release(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// quarantineKey is under which a restore keeps what it puts a quarantine in the place of.
const quarantineKey = "quarantine_before"

// isolate puts the tenant, which is locked, into quarantine if what it has now is a copy, or comes from where it was in quarantine.
func (w *Worker) isolate(ctx context.Context, tx pgx.Tx, r *ops.Run, in restoreInput, t tenants.Tenant) error {
	b, err := get(ctx, tx, in.BackupID, "")
	if err != nil || b.TenantID == t.ID && !b.Quarantined {
		return err
	}
	if err := r.Set(quarantineKey, t.Quarantine()); err != nil {
		return err
	}
	when := b.CreatedAt.UTC().Format("2006-01-02 15:04 MST")
	cause := fmt.Sprintf("It is a copy of client %s as of %s.", b.TenantName, when)
	if b.TenantID == t.ID {
		cause = fmt.Sprintf("It is as it was on %s, when it was a copy in quarantine.", when)
	}
	return w.tenants.QuarantineTx(ctx, tx, t.ID, in.By, cause)
}

// letOut is the way back; it returns the tenant as it is then.
func (w *Worker) letOut(ctx context.Context, tx pgx.Tx, r *ops.Run, t tenants.Tenant) (tenants.Tenant, error) {
	var before tenants.Quarantine
	found, err := r.Get(quarantineKey, &before)
	if err != nil || !found {
		return t, err
	}
	return w.tenants.PutQuarantineTx(ctx, tx, t.ID, before)
}

// copied ends what made a copy: its users are those of the original, so that nobody has to be shown the password that the tenant began with.
func (w *Worker) copied(ctx context.Context, tx pgx.Tx, in restoreInput) error {
	b, err := get(ctx, tx, in.BackupID, "")
	if err != nil || b.TenantID == in.TenantID {
		return err
	}
	if err := w.tenants.ForgetPasswordTx(ctx, tx, in.TenantID); err != nil {
		return err
	}
	if err := alerts.Resolve(ctx, tx, alertCopyFailed, in.TenantID.Subject()); err != nil {
		return err
	}
	return w.tenants.SetCopyOfTx(ctx, tx, in.TenantID, 0)
}

// FollowTx has what a tenant that is just being activated is to be a copy of restored into it, next and by r's end. Until then it is closed: nobody
// meets the Odoo that is replaced. There is nothing of its own yet that had to be saved first.
func (s *Service) FollowTx(ctx context.Context, tx pgx.Tx, r *ops.Run, id tenants.ID) error {
	t, err := s.tenants.Lock(ctx, tx, id)
	if err != nil || t.CopyOf == 0 {
		return err
	}
	in := restoreInput{TenantID: id, BackupID: ID(t.CopyOf), WithoutSafety: true}
	if err := tx.QueryRow(ctx, "SELECT username FROM accounts WHERE id = $1", t.AccountID).Scan(&in.By); err != nil {
		return fmt.Errorf("look whose tenant %s is: %w", id, err)
	}
	if err := s.tenants.MoveTx(ctx, tx, id, []tenants.State{tenants.Active}, tenants.Maintenance, "being made a copy"); err != nil {
		return err
	}
	r.Follow(RestoreKind, in)
	return nil
}

// giveUpCopy opens a client that was to be a copy and can't be: it is an empty Odoo, into which its owner may restore what they like.
func (w *Worker) giveUpCopy(ctx context.Context, run *ops.Run) error {
	var in restoreInput
	if err := run.Input(&in); err != nil {
		return err
	}
	return postgres.InTx(ctx, w.pool, func(tx pgx.Tx) error {
		t, err := w.tenants.Lock(ctx, tx, in.TenantID)
		if err != nil || t.CopyOf != int64(in.BackupID) {
			return err
		}
		if err := w.tenants.SetCopyOfTx(ctx, tx, t.ID, 0); err != nil {
			return err
		}
		err = alerts.Raise(ctx, tx, alerts.Alert{
			Kind: alertCopyFailed, Subject: t.ID.Subject(),
			Message: fmt.Sprintf("Client %s was to be a copy of backup %s and is an empty Odoo; see operation %d.", t.Name, in.BackupID, run.ID),
		})
		if err != nil {
			return err
		}
		return w.goOn(ctx, tx, run, "it couldn't be made a copy")
	})
}
