package provision

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// ResetKind is the kind of operation that resets an administrator's password.
const ResetKind = "tenant.reset_admin_password"

const (
	resetAttempts = 3
	resetTimeout  = 15 * time.Second // of an attempt: what the tenant has put into its database may be slow on purpose
	resetPatience = 10 * time.Second
	longestLogin  = 254
)

// What ResetAdminPassword may return.
var (
	// ErrNotRunning is for a tenant that has no Odoo yet, or no more.
	ErrNotRunning = errs.New(errs.Conflict, "client_not_active", "The password can be reset once the client is active.")
	// ErrResetFailed is for a reset that was given up; its message says why.
	ErrResetFailed = errs.New(errs.Conflict, "password_reset_failed", "The password couldn't be reset.")
	// ErrResetPending is for one that nobody has done in time; it is done still.
	ErrResetPending = errs.New(errs.Unavailable, "password_reset_pending", "The reset is still going on; look at the credentials in a minute.")
)

// ResetWorkflow gives Odoo's administrator a new random password, which the owner can read once with the credentials; sessions that
// are open end with it. Between its two steps, and until the last one's checkpoint, nobody can read any password, so that a crash at
// any point never shows one that doesn't work. It is given up rather than held, since a held operation would stand in the way of all
// others of the tenant.
func (s *Service) ResetWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: ResetKind,
		Steps: []ops.Step{
			{Name: "mint", Do: s.checkResettable, Tx: s.mintPassword},
			{Name: "set", Timeout: resetTimeout, Do: s.setPassword, Tx: s.showPassword, Undo: s.forgetPassword},
		},
	}
}

func (s *Service) checkResettable(ctx context.Context, r *ops.Run) error {
	t, err := s.resetSubject(ctx, r)
	if err == nil && !resettable(t.State) {
		err = ops.Unwind(ErrNotRunning)
	}
	return err
}

// resettable reports whether there is a whole database in the state.
func resettable(state tenants.State) bool {
	return state == tenants.Active || state == tenants.Suspended || state == tenants.Sleeping
}

func (s *Service) resetSubject(ctx context.Context, r *ops.Run) (tenants.Tenant, error) {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return tenants.Tenant{}, err
	}
	return s.tenants.ByID(ctx, in.TenantID)
}

func (s *Service) mintPassword(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	return s.tenants.BeginResetTx(ctx, tx, in.TenantID)
}

// setPassword sets the same password however often it is repeated.
func (s *Service) setPassword(ctx context.Context, r *ops.Run) error {
	login, err := s.trySetPassword(ctx, r)
	switch {
	case err == nil:
		return r.Set("login", login)
	case r.Attempt >= resetAttempts || errs.KindOf(err) == errs.Conflict:
		return ops.Unwind(err)
	}
	return err
}

// trySetPassword returns the administrator's login, which the tenant may have changed; an absurd one isn't shown to anybody.
func (s *Service) trySetPassword(ctx context.Context, r *ops.Run) (login string, err error) {
	t, err := s.resetSubject(ctx, r)
	if err != nil {
		return "", err
	}
	known, err := s.tenants.Secrets(ctx, t.ID)
	if err != nil {
		return "", err
	}
	hash, err := HashPassword(known.PendingPassword)
	if err != nil {
		return "", err
	}
	db := TenantDatabase{Name: t.DBName, Subject: t.ID.Subject(), Password: known.DBPassword}
	if login, err = s.database.SetAdminPassword(ctx, db, hash); err != nil {
		return "", err
	}
	if len(login) > longestLogin {
		login = ""
	}
	return cmp.Or(login, known.AdminLogin), nil
}

func (s *Service) showPassword(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	var login string
	if _, err := r.Get("login", &login); err != nil {
		return err
	}
	return s.tenants.FinishResetTx(ctx, tx, in.TenantID, login)
}

func (s *Service) forgetPassword(ctx context.Context, r *ops.Run) error {
	var in provisionInput
	if err := r.Input(&in); err != nil {
		return err
	}
	return s.tenants.AbortReset(ctx, in.TenantID)
}

// Resetter asks the workers for resets, in processes that can't reach the tenants' databases themselves.
type Resetter struct {
	Pool *pgxpool.Pool
	Ops  *ops.Engine // needn't be started

	Patience time.Duration // how long a caller waits; default 10 s
}

// ResetAdminPassword resets the password of the tenant's administrator and waits for it; when it returns nil the owner can read the new
// one. Errors: ErrNotRunning, ops.ErrLive, ErrResetFailed, ErrResetPending.
func (r Resetter) ResetAdminPassword(ctx context.Context, t tenants.Tenant) error {
	if !resettable(t.State) {
		return ErrNotRunning
	}
	var op ops.Operation
	err := postgres.InTx(ctx, r.Pool, func(tx pgx.Tx) (err error) {
		op, err = r.Ops.EnqueueTx(ctx, tx, ResetKind, t.ID.Subject(), provisionInput{TenantID: t.ID})
		return err
	})
	if err != nil {
		return fmt.Errorf("ask for a password reset of tenant %s: %w", t.ID, err)
	}
	return r.await(ctx, op.ID)
}

func (r Resetter) await(ctx context.Context, id ops.ID) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Patience, resetPatience))
	defer cancel()
	op, err := r.Ops.Wait(ctx, id)
	switch {
	case op.State == ops.Done:
		return nil
	case op.State == ops.Abandoned || op.State == ops.Held:
		return ErrResetFailed.WithMessage("The password couldn't be reset. %s", op.Error)
	case ctx.Err() != nil:
		return ErrResetPending.WithCause(ctx.Err())
	default:
		return err
	}
}
