package provision_test

import (
	"context"
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

// slowBackup is a final backup that is taken elsewhere, and is there at the third look.
type slowBackup struct{ looks atomic.Int32 }

func (b *slowBackup) Ensure(context.Context, tenants.Tenant) error {
	if b.looks.Add(1) < 3 {
		return provision.ErrBackupGoingOn
	}
	return nil
}

// A backup that takes its time costs no attempt and raises nothing.
func TestDelete_LooksAfterABackupThatGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	b := &slowBackup{}
	var err error
	s.Service, err = provision.New(provision.Deps{
		Pool: s.pool, Ops: s.ops, Tenants: s.tenants, Runtime: s.world, Database: s.world, Log: s.log, FinalBackup: b,
	}, s.options)
	require.NoError(t, err)
	op := s.do(t, tenants.DeleteKind, ops.Done)
	require.EqualValues(t, 3, b.looks.Load())
	require.Equal(t, 1, op.Attempt)
	s.requireGone(t)
}

// endlessBackup never ends.
type endlessBackup struct{}

func (endlessBackup) Ensure(context.Context, tenants.Tenant) error { return provision.ErrBackupGoingOn }

// One that never ends isn't waited for in silence.
func TestDelete_TellsOfABackupThatGoesOnAndOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	var err error
	s.Service, err = provision.New(provision.Deps{
		Pool: s.pool, Ops: s.ops, Tenants: s.tenants, Runtime: s.world, Database: s.world, Log: s.log, FinalBackup: endlessBackup{},
	}, s.options)
	require.NoError(t, err)
	s.waits(t, alerts.New(s.pool))
}

// waits has the deletion done, and wants an alert once a day has passed, and nothing gone.
func (s *scene) waits(t *testing.T, board *alerts.Board) {
	t.Helper()
	engine := s.start(t, s.DeleteWorkflow())
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := engine.EnqueueTx(t.Context(), tx, tenants.DeleteKind, s.tenant.ID.Subject(), s.input)
		return err
	}))
	s.exec(t, "UPDATE operations SET created_at = now() - interval '25 hours'")
	require.Eventually(t, func() bool {
		list, err := board.List(t.Context(), alerts.Filter{Kind: "final_backup", Limit: 10})
		return err == nil && len(list) == 1
	}, opstest.Limit, 5*time.Millisecond)
	require.Len(t, s.world.volumes, 3)
}

// The settings of the store were lost, or somebody meant it: then they say so.
func TestDelete_WaitsWhereBackupsWereAndNoneAreConfigured(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	s.exec(t, `INSERT INTO backups (tenant_id, tenant_name, kind, state, key_prefix, requested_by, created_at, finished_at)
		SELECT id, name, 'daily', 'failed', 'acme/1/', 'system', now(), now() FROM tenants`)
	s.waits(t, alerts.New(s.pool))
	s.exec(t, "UPDATE tenants SET final_backup_skipped = 'they agreed'")
	require.Eventually(t, func() bool { s.refresh(t); return s.tenant.State == tenants.Deleted }, opstest.Limit, 5*time.Millisecond)
	s.requireGone(t)
}
