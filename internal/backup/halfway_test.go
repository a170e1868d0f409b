package backup_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// torn is a server on which the databases are swapped when the worker dies.
type torn struct {
	backup.Cluster
	swapped, gone chan struct{}
}

func (c torn) SwapRestored(ctx context.Context, database, subject string, at time.Time, restore int64) error {
	if err := c.Cluster.SwapRestored(ctx, database, subject, at, restore); err != nil {
		return err
	}
	close(c.swapped)
	<-c.gone
	return errors.New("nobody is there any more")
}

// A database of one time with files of another is nothing that anybody is left with: who dies between the two is gone on with or taken back,
// and so does who restores something else instead.
func TestRestore_ThatIsLeftHalfWayIsUndoneByTheNext(t *testing.T) {
	t.Parallel()
	p, engine, b := buildLost(t)
	opstest.Stop(t, engine)

	whole := p.cluster
	dying := torn{p.cluster, make(chan struct{}), make(chan struct{})}
	p.cluster = dying
	engine = p.start()
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	select {
	case <-dying.swapped:
	case <-time.After(opstest.Limit):
		require.FailNow(t, "nothing was swapped")
	}
	allowed := func(ctx context.Context, q postgres.Querier) error { return backup.MayAbandon(ctx, q, op.ID) }
	require.ErrorIs(t, engine.Abandon(t.Context(), op.ID, "it hangs", allowed), backup.ErrHalfWay)
	require.NoError(t, engine.Abandon(t.Context(), op.ID, "it hangs"), "as nobody does, and as an operation does that comes in its place")
	close(dying.gone)
	opstest.Stop(t, engine)
	require.Equal(t, 1000, p.odoo.Partners(t), "the database is the restored one")
	require.Contains(t, p.files(), backuptest.FileName("a file that came later"), "the files aren't")
	require.Equal(t, tenants.Maintenance, p.state())

	p.cluster = whole
	engine = p.start()
	op, err = p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.Equal(t, tenants.Active, p.state())
	page, err := p.backups.List(t.Context(), backup.Filter{TenantID: p.tenant.ID})
	require.NoError(t, err)
	require.Equal(t, backup.Safety, page.Backups[0].Kind)
	op, err = p.backups.Restore(t.Context(), page.Backups[0].ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 10, p.odoo.Partners(t), "what was saved first is what there was before the one that was left half-way")
	require.Contains(t, p.files(), backuptest.FileName("a file that came later"))
	p.idle()
	p.leavesNothing()
}
