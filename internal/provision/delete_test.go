package provision_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// requireGone wants nothing of the tenant left but its row, and its subnet resting.
func (s *scene) requireGone(t *testing.T) {
	t.Helper()
	s.refresh(t)
	require.Equal(t, tenants.Deleted, s.tenant.State)
	require.NotNil(t, s.tenant.DeletedAt)
	require.Empty(t, s.tenant.Address)
	require.Empty(t, s.world.containers)
	require.Empty(t, s.world.networks)
	require.Empty(t, s.world.volumes)
	require.Empty(t, s.world.databases)
	require.Empty(t, s.world.roles)
	_, err := s.tenants.Secrets(t.Context(), s.tenant.ID)
	require.ErrorIs(t, err, tenants.ErrNoSecrets)
	var resting int
	require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT count(*) FROM tenant_subnets WHERE tenant_id IS NULL").Scan(&resting))
	require.Equal(t, 1, resting)
}

func TestDelete_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	proves(t, func(s *scene) ops.Workflow { return s.DeleteWorkflow() }, isDeleting, true, func(t *testing.T, s *scene) {
		t.Helper()
		s.requireGone(t)
	})
}

// Whatever the moment it fails for good, nothing runs on what is left.
func TestDelete_LeavesNothingReachableHalfWay(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"Remove container", "Remove network", "Remove volume", "RemoveTenant"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, isDeleting, true)
			s.world.fail(method, errors.New("device or resource busy"))
			op := s.do(t, tenants.DeleteKind, ops.Held)
			require.Equal(t, tenants.Deleting, s.tenant.State)
			for _, c := range s.world.containers {
				require.False(t, c.running)
			}
			if method != "Remove container" {
				require.Empty(t, s.world.containers)
			}
			require.Equal(t, method != "RemoveTenant", len(s.world.volumes) > 0)
			require.Contains(t, s.world.databases, "odoo_acme")

			s.world.fail(method, nil)
			require.NoError(t, s.ops.Retry(t.Context(), op.ID))
			require.Eventually(t, func() bool { s.refresh(t); return s.tenant.State == tenants.Deleted }, opstest.Limit, 5*time.Millisecond)
			s.requireGone(t)
		})
	}
}

// A worker that was taken for dead finishes a deletion after the name has been given to somebody else.
func TestDelete_ALateRepeatLeavesTheNextOfTheNameAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	next := s.tenant
	next.ID, next.Address = 4711, "10.99.0.82"
	s.world = newWorld()
	s.world.own(next, true)
	s.Service = s.service(t, s.ops, s.world, s.world)
	s.do(t, tenants.DeleteKind, ops.Done)
	require.True(t, s.container().running)
	require.Len(t, s.world.networks, 1)
	require.Len(t, s.world.volumes, 3)
	require.Contains(t, s.world.databases, "odoo_acme")
	require.Equal(t, "tenant/4711", s.world.roles["odoo_acme"])
}

// What the engine was just making when a provisioning was cut short comes after the deletion has looked for it.
func TestDelete_RemovesWhatComesLate(t *testing.T) {
	t.Parallel()
	for _, late := range []string{"network", "volumes", "forget"} {
		t.Run(late, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, isDeleting, true)
			workflow := s.DeleteWorkflow()
			i := slices.IndexFunc(workflow.Steps, func(step ops.Step) bool { return step.Name == late })
			do := workflow.Steps[i].Do
			workflow.Steps[i].Do = func(ctx context.Context, r *ops.Run) error {
				if r.Attempt == 1 {
					s.world.own(s.tenant, false)
				}
				return do(ctx, r)
			}
			engine := s.start(t, workflow)
			var op ops.Operation
			require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
				op, err = engine.EnqueueTx(t.Context(), tx, tenants.DeleteKind, s.tenant.ID.Subject(), s.input)
				return err
			}))
			opstest.Wait(t, engine, op.ID, ops.Done)
			s.requireGone(t)
		})
	}
}

func TestDelete_OfWhatIsNotToGoIsHeld(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isActive, true)
	op := s.do(t, tenants.DeleteKind, ops.Held)
	require.Equal(t, 1, op.Attempt)
	require.True(t, s.container().running)
}

// backup is a final backup that fails until it is told not to.
type backup struct {
	fails atomic.Bool
	made  atomic.Int32
}

func (b *backup) Ensure(context.Context, tenants.Tenant) error {
	if b.fails.Load() {
		return errors.New("bucket is away")
	}
	b.made.Add(1)
	return nil
}

func (s *scene) backedUp(t *testing.T, fails bool) *backup {
	t.Helper()
	b := &backup{}
	b.fails.Store(fails)
	var err error
	s.Service, err = provision.New(provision.Deps{
		Pool: s.pool, Ops: s.ops, Tenants: s.tenants, Runtime: s.world, Database: s.world, Log: s.log, FinalBackup: b,
	}, s.options)
	require.NoError(t, err)
	return b
}

func TestDelete_BacksUpFirst(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	b := s.backedUp(t, false)
	s.do(t, tenants.DeleteKind, ops.Done)
	require.EqualValues(t, 1, b.made.Load())
	s.requireGone(t)
}

func TestDelete_OfWhatNeverRanNeedsNoBackup(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	s.exec(t, "UPDATE tenants SET activated_at = NULL")
	s.backedUp(t, true)
	s.do(t, tenants.DeleteKind, ops.Done)
	s.requireGone(t)
}

// The destruction waits for its backup as long as it takes, and tells somebody after a day.
func TestDelete_WaitsForItsBackup(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *scene, b *backup){
		"until it is made":                    func(_ *scene, b *backup) { b.fails.Store(false) },
		"until an administrator does without": func(s *scene, _ *backup) { s.exec(t, "UPDATE tenants SET final_backup_skipped = 'they agreed'") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, isDeleting, true)
			b := s.backedUp(t, true)
			engine := s.start(t, s.DeleteWorkflow())
			var op ops.Operation
			require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
				op, err = engine.EnqueueTx(t.Context(), tx, tenants.DeleteKind, s.tenant.ID.Subject(), s.input)
				return err
			}))
			board := alerts.New(s.pool)
			open := func() int {
				list, err := board.List(t.Context(), alerts.Filter{Limit: 10})
				require.NoError(t, err)
				return len(list)
			}
			require.Eventually(t, func() bool {
				now, err := engine.Get(t.Context(), op.ID)
				return err == nil && now.Step == "backup" && now.Attempt > 3
			}, opstest.Limit, 5*time.Millisecond)
			require.False(t, s.world.containers["odoo_acme"].running, "it stands still meanwhile")
			require.Len(t, s.world.volumes, 3)
			require.Zero(t, open())
			s.exec(t, "UPDATE operations SET created_at = now() - interval '25 hours'")
			require.Eventually(t, func() bool { return open() == 1 }, opstest.Limit, 5*time.Millisecond)
			end(s, b)
			opstest.Wait(t, engine, op.ID, ops.Done)
			s.requireGone(t)
			require.Zero(t, open(), "the alert is resolved")
		})
	}
}
