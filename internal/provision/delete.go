package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

const (
	// stopGrace is how long an Odoo may take to finish what it is doing.
	stopGrace = 20 * time.Second
	// backupTimeout is for one attempt at a final backup.
	backupTimeout = time.Hour
	// backupPoll is how often a backup that is still being taken is looked after.
	backupPoll = time.Second
	// backupLatePoll is how often that is when somebody was told.
	backupLatePoll = time.Minute
	// backupPatience is how long a deletion waits for its final backup before somebody is told.
	backupPatience = 24 * time.Hour
	// backupAlert is the kind of that alert.
	backupAlert = "final_backup"
)

// FinalBackup keeps what a tenant had before it is destroyed.
type FinalBackup interface {
	// Ensure returns nil when a restorable backup of the tenant, which is stopped, is kept. A repeat finds the one it made. One that takes
	// its time goes on elsewhere, and ErrBackupGoingOn is returned until it is there.
	Ensure(ctx context.Context, t tenants.Tenant) error
}

// ErrBackupGoingOn is no failure: the backup isn't there yet.
var ErrBackupGoingOn = errors.New("the final backup is still being taken")

// ErrNoBackupStore is what a deletion waits with when its tenant was backed up before, and there is no place for backups any more.
var ErrNoBackupStore = errs.New(errs.Unavailable, "no_backup_store", "The final backup couldn't be taken: no backup store is configured.")

// ErrNotCondemned holds a deletion of a tenant that isn't being deleted.
var ErrNotCondemned = errs.New(errs.Conflict, "not_deleting", "This client isn't being deleted.")

// DeleteWorkflow removes all that a tenant has outside our database, last the row's claim to its name. The edge has closed its address
// before; then its Odoo stops, and nothing goes that still runs on what is left. What is absent is passed over, and whose a thing is
// tells its mark, so that a late repeat does no harm to another tenant who has the name by then.
func (s *Service) DeleteWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: tenants.DeleteKind,
		Steps: []ops.Step{
			{Name: "stop", Do: s.condemned(func(ctx context.Context, _ *ops.Run, t tenants.Tenant) error {
				return s.runtime.StopTenant(ctx, t.ID.String(), stopGrace)
			})},
			{Name: "backup", Timeout: backupTimeout, Do: s.condemned(s.backUp)},
			{Name: "container", Do: s.condemned(s.removing(KindContainer))},
			{Name: "network", Do: s.condemned(s.removing(KindContainer, KindNetwork))},
			{Name: "volumes", Timeout: 5 * time.Minute, Do: s.condemned(s.removing(KindContainer, KindVolume))},
			{Name: "database", Timeout: 2 * time.Minute, Do: s.condemned(s.removeDatabase)},
			{Name: "forget", Timeout: 2 * time.Minute, Do: s.condemned(s.removeLate), Tx: s.forget},
		},
	}
}

// condemned makes a step of what is done to a tenant that is to go. One that is gone already has nothing left.
func (s *Service) condemned(do func(ctx context.Context, r *ops.Run, t tenants.Tenant) error) func(ctx context.Context, r *ops.Run) error {
	return func(ctx context.Context, r *ops.Run) error {
		t, err := s.changing(ctx, r)
		switch {
		case err != nil:
			return err
		case t.State == tenants.Deleted:
			return nil
		case t.State != tenants.Deleting:
			return ops.Permanent(ErrNotCondemned.WithCause(fmt.Errorf("tenant %s is %s", t.ID, t.State)))
		}
		if err := do(ctx, r, t); err != nil {
			return outcome(fmt.Errorf("delete tenant %s: %w", t.ID, err))
		}
		return nil
	}
}

func (s *Service) removing(kinds ...ObjectKind) func(ctx context.Context, r *ops.Run, t tenants.Tenant) error {
	return func(ctx context.Context, _ *ops.Run, t tenants.Tenant) error {
		for _, kind := range kinds {
			if err := s.runtime.RemoveTenantObjects(ctx, t.ID.String(), kind); err != nil {
				return err
			}
		}
		return nil
	}
}

func (s *Service) removeDatabase(ctx context.Context, _ *ops.Run, t tenants.Tenant) error {
	return s.database.RemoveTenant(ctx, t.DBName, t.ID.Subject())
}

// removeLate looks again at the end: the operation that this one took the place of may have been cut short while the engine or the
// database server was making something, which was there only after its turn to go.
func (s *Service) removeLate(ctx context.Context, r *ops.Run, t tenants.Tenant) error {
	if err := s.removing(KindContainer, KindNetwork, KindVolume)(ctx, r, t); err != nil {
		return err
	}
	return s.removeDatabase(ctx, r, t)
}

// backUp lets nobody's data go without a backup, unless an administrator said so when asking for the deletion, or since.
func (s *Service) backUp(ctx context.Context, r *ops.Run, t tenants.Tenant) error {
	var in tenants.OperationInput
	if err := r.Input(&in); err != nil {
		return err
	}
	switch {
	case t.ActivatedAt == nil:
		return nil
	case in.SkipFinalBackup || t.FinalBackupSkipped != "":
		r.Note(ctx, "No final backup is made: an administrator decided so")
		return s.resolveBackupAlert(ctx, r)
	}
	err := s.ensureBackup(ctx, r, t)
	switch {
	case err == nil:
		return s.resolveBackupAlert(ctx, r)
	case errors.Is(err, ErrBackupGoingOn):
		late, alertErr := s.alertOfBackup(ctx, r, err)
		switch {
		case alertErr != nil:
			return alertErr
		case late:
			return ops.Snooze(backupLatePoll)
		}
		return ops.Snooze(backupPoll)
	}
	_, alertErr := s.alertOfBackup(ctx, r, err)
	return ops.Outage(errors.Join(fmt.Errorf("make the final backup: %w", err), alertErr))
}

// ensureBackup goes without where there never was a place for backups. Where there was one, its settings are more likely to be lost than meant
// to be: the deletion waits.
func (s *Service) ensureBackup(ctx context.Context, r *ops.Run, t tenants.Tenant) error {
	if s.finalBackup != nil {
		return s.finalBackup.Ensure(ctx, t)
	}
	var had bool
	err := s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM backups WHERE tenant_id = $1 AND state <> 'deleted')", t.ID).Scan(&had)
	if err != nil {
		return fmt.Errorf("look for backups: %w", err)
	}
	if had {
		return ErrNoBackupStore
	}
	r.Note(ctx, "No final backup is made: none is configured")
	return nil
}

// alertOfBackup tells the operators about a deletion that has waited for long, and reports whether it has.
func (s *Service) alertOfBackup(ctx context.Context, r *ops.Run, cause error) (late bool, err error) {
	op, err := s.ops.Get(ctx, r.ID)
	if err != nil || time.Since(op.CreatedAt) < backupPatience {
		return false, err
	}
	return true, alerts.Raise(ctx, s.pool, alerts.Alert{
		Kind: backupAlert, Subject: r.Subject,
		Message: fmt.Sprintf("A deletion waits for its final backup since %s: %v", op.CreatedAt.UTC().Format(time.DateTime), cause),
	})
}

func (s *Service) resolveBackupAlert(ctx context.Context, r *ops.Run) error {
	return alerts.Resolve(ctx, s.pool, backupAlert, r.Subject)
}

// forget frees the tenant's name, domain and subnet in one go.
func (s *Service) forget(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	t, err := s.changingTx(ctx, tx, r)
	if err != nil || t.State == tenants.Deleted {
		return err
	}
	if err := releaseSubnet(ctx, tx, t.ID); err != nil {
		return err
	}
	return s.tenants.MarkDeletedTx(ctx, tx, t.ID)
}
