package backup_test

import (
	"io"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
)

// What was cut short where it lies isn't restored by anybody, and is told once it is looked at.
func TestTrouble_ATruncatedObject(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	for _, object := range p.stored() {
		info, err := os.Stat(object)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(object, info.Size()/2))
	}
	restore := func() ops.Operation {
		op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
		require.NoError(t, err)
		return opstest.Wait(t, engine, op.ID, ops.Abandoned)
	}
	require.Equal(t, archive.ErrDamaged.Message, restore().Error)
	p.unharmed()
	op, err := p.backups.Verify(t.Context(), b.ID)
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	b, err = p.backups.Get(t.Context(), b.ID)
	require.NoError(t, err)
	require.False(t, b.Good())
	require.Equal(t, archive.ErrDamaged.Message, b.Error)
	require.Equal(t, 1, p.openAlerts())
	_, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.ErrorIs(t, err, backup.ErrNotGood)
	p.leavesNothing()
}

func TestTrouble_ARestoreWithAnotherKey(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)
	engine = opstest.Start(t, p.pool, p.workerWith("another key for backups which is as long as that").RestoreWorkflow())
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Equal(t, archive.ErrWrongKey.Message, ended.Error)
	require.NotRegexp(t, inner, ended.Error)
	p.unharmed()
	p.leavesNothing()
	b, err = p.backups.Get(t.Context(), b.ID)
	require.NoError(t, err)
	require.True(t, b.Good(), "nothing is held against it")
}

// A backup ends when its client does, and leaves the last one to the deletion.
func TestTrouble_AClientThatIsDeletedDuringItsBackup(t *testing.T) {
	t.Parallel()
	p := build(t)
	work := busy{p.database, p.volumes, func(take func() (backup.Snapshot, error)) (backup.Snapshot, error) {
		_, err := p.pool.Exec(t.Context(), "UPDATE tenants SET state = 'deleting', desired = 'deleted' WHERE id = $1", p.tenant.ID)
		require.NoError(t, err)
		return take()
	}, func(all io.ReadCloser) io.ReadCloser { return all }}
	p.database, p.volumes = work, work
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Abandoned)
	require.Equal(t, backup.Failed, b.State)
	require.Equal(t, backup.ErrTenantGone.Message, b.Error)
	require.Empty(t, p.stored())
	p.requireNoUploads()
	require.Zero(t, p.openAlerts())
	p.idle()
	require.True(t, p.took(engine, backup.Final, ops.Done).Good())
}
