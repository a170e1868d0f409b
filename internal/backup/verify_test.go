package backup_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
)

// requireUnread wants operators to be told of a backup that is looked at, and nothing to be held against it.
func (p *plant) requireUnread(engine *ops.Engine, b backup.Backup) ops.Operation {
	p.Helper()
	op, err := p.backups.Verify(p.Context(), b.ID)
	require.NoError(p, err)
	require.Eventually(p, func() bool { return p.openAlerts() == 1 }, time.Minute, 10*time.Millisecond)
	op, err = engine.Get(p.Context(), op.ID)
	require.NoError(p, err)
	require.False(p, op.State.Ended())
	b, err = p.backups.Get(p.Context(), b.ID)
	require.NoError(p, err)
	require.True(p, b.Good())
	return op
}

func TestVerify_AWrongKeyBreaksNothing(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := opstest.Start(t, p.pool, p.worker().TakeWorkflow(), p.workerWith("another key for backups which is as long as that").VerifyWorkflow())
	p.requireUnread(engine, p.took(engine, backup.Daily, ops.Done))
}

// Of a bucket in which nothing of ours lies it can't be said that a backup is missing there.
func TestVerify_AWrongBucketBreaksNothing(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	first := p.took(engine, backup.Daily, ops.Done)
	moved := map[string][]byte{}
	for _, path := range p.stored() {
		content, err := os.ReadFile(path) //nolint:gosec // of this test
		require.NoError(t, err)
		moved[path] = content
		require.NoError(t, os.Remove(path))
	}
	second := p.took(engine, backup.Hourly, ops.Done)
	op := p.requireUnread(engine, first)
	inSecond := p.stored()
	for path, content := range moved {
		require.NoError(t, os.WriteFile(path, content, 0o600))
	}
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Zero(t, p.openAlerts())

	for _, path := range inSecond {
		require.NoError(t, os.Remove(path))
	}
	op, err := p.backups.Verify(t.Context(), second.ID)
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	second, err = p.backups.Get(t.Context(), second.ID)
	require.NoError(t, err)
	require.False(t, second.Good(), "an older one is there, and this one isn't")
	require.Equal(t, backup.ErrObjectMissing.Message, second.Error)
}
