package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// ResetKind is the kind of operation that resets an administrator's password.
const ResetKind = "tenant.reset_admin_password"

const (
	resetAttempts = 3
	resetWait     = 20 * time.Second
	resetPoll     = 50 * time.Millisecond
)

// ErrResetFailed is returned when a worker couldn't reset a password; its message says why.
var ErrResetFailed = errs.New(errs.Conflict, "password_reset_failed", "The password couldn't be reset.")

// ErrResetPending is returned when no worker has done it in time; it may still be done.
var ErrResetPending = errs.New(errs.Unavailable, "password_reset_pending", "The password is being reset; look at the credentials in a minute.")

// ResetWorkflow resets an administrator's password for a process that can't reach the tenants' databases. It is given up rather than
// held, since a held operation would stand in the way of all others of the tenant.
func (s *Service) ResetWorkflow() ops.Workflow {
	return ops.Workflow{
		Kind: ResetKind,
		Steps: []ops.Step{{Name: "reset", Do: func(ctx context.Context, r *ops.Run) error {
			var in provisionInput
			if err := r.Input(&in); err != nil {
				return err
			}
			t, err := s.tenants.ByID(ctx, in.TenantID)
			if err == nil {
				_, err = s.ResetAdminPassword(ctx, t)
			}
			if err != nil && (r.Attempt >= resetAttempts || errs.KindOf(err) == errs.Conflict) {
				return ops.Unwind(err)
			}
			return err
		}}},
	}
}

// Remote asks a worker for what a process with only the API can't do itself.
type Remote struct {
	pool    *pgxpool.Pool
	ops     *ops.Engine
	tenants *tenants.Service
}

// NewRemote returns a Remote; the engine need not be started.
func NewRemote(pool *pgxpool.Pool, engine *ops.Engine, service *tenants.Service) *Remote {
	return &Remote{pool: pool, ops: engine, tenants: service}
}

// ResetAdminPassword is Service's, done by a worker while the caller waits. Errors: ops.ErrLive, ErrResetFailed, ErrResetPending.
func (r *Remote) ResetAdminPassword(ctx context.Context, t tenants.Tenant) (secrets.Secret, error) {
	var op ops.Operation
	err := postgres.InTx(ctx, r.pool, func(tx pgx.Tx) (err error) {
		op, err = r.ops.EnqueueTx(ctx, tx, ResetKind, t.ID.Subject(), provisionInput{TenantID: t.ID})
		return err
	})
	if err != nil {
		return "", fmt.Errorf("ask for a password reset of tenant %s: %w", t.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, resetWait)
	defer cancel()
	tick := time.NewTicker(resetPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", ErrResetPending.WithCause(ctx.Err())
		case <-tick.C:
		}
		now, err := r.ops.Get(ctx, op.ID)
		if ctx.Err() != nil {
			return "", ErrResetPending.WithCause(ctx.Err())
		}
		if err != nil {
			return "", err
		}
		switch now.State { //nolint:exhaustive // the others aren't the end
		case ops.Done:
			known, err := r.tenants.Secrets(ctx, t.ID)
			return known.AdminPassword, err
		case ops.Abandoned, ops.Held:
			return "", ErrResetFailed.WithMessage("%s", now.Error)
		}
	}
}
