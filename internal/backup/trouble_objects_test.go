package backup_test

import (
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/s3test"
	s3 "controlplane/internal/backup/store"
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
	p.requireObjects(0)
	require.Zero(t, p.openAlerts())
	p.idle()
	require.True(t, p.took(engine, backup.Final, ops.Done).Good())
}

// A line that breaks again and again makes a restore slower; a store that is gone ends it, and nothing has happened.
func TestTrouble_AStoreThatGoesAwayDuringARestore(t *testing.T) {
	t.Parallel()
	p := build(t)
	p.file(noise(large))
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)
	line := p.server.Line(t)
	p.through(func(o *s3.Options) { o.Endpoint = line.Endpoint })
	stopped := make(chan struct{})
	line.Break(s3test.Down, 3<<20, sync.OnceFunc(func() { p.server.Stop(); close(stopped) }))
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	engine = p.start()
	require.Eventually(t, func() bool {
		now, err := engine.Get(t.Context(), op.ID)
		return err == nil && now.Error == backup.ErrStoreUnreachable.Message
	}, time.Minute, 20*time.Millisecond)
	_, err = p.pool.Exec(t.Context(), "UPDATE operations SET attempt = 8 WHERE id = $1", op.ID)
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Abandoned)
	p.unharmed()
	p.leavesNothing()

	<-stopped
	p.server.Start(t)
	line.Break(s3test.Down, 2<<20, nil)
	op, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Contains(t, p.files(), backuptest.FileName(noise(large)))
}
