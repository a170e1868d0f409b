package backup_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/secrets"
)

// tight is an engine whose disk can be full.
type tight struct {
	backup.Volumes
	full atomic.Bool
}

func (v *tight) FreeBytes(ctx context.Context) (int64, bool, error) {
	if v.full.Load() {
		return 1000, true, nil
	}
	return v.Volumes.FreeBytes(ctx)
}

// What can't be made leaves nothing, says why, and can be asked for again.
func TestNeutralLink_Fails(t *testing.T) {
	t.Parallel()
	c := build(t).openClinic()
	disk := &tight{Volumes: c.volumes}
	c.volumes = disk
	engine := c.start()
	b := c.took(engine, backup.Hourly, ops.Done)
	last := c.took(engine, backup.Hourly, ops.Done)
	stored := len(c.stored())
	failed := func(want string) {
		t.Helper()
		id := c.asked(b)
		opstest.Wait(t, engine, id, ops.Abandoned)
		require.Equal(t, "failed", c.state(b))
		var text string
		require.NoError(t, c.pool.QueryRow(t.Context(), "SELECT error FROM backup_neutral_dumps ORDER BY id DESC LIMIT 1").Scan(&text))
		require.Contains(t, text, want)
		require.Zero(t, c.cell.left())
		c.idle()
	}
	upgrade := func(version string) {
		t.Helper()
		_, err := c.pool.Exec(t.Context(), "UPDATE backups SET manifest = jsonb_set(manifest, '{database,odoo_version}', to_jsonb($1::text))", version)
		require.NoError(t, err)
	}
	c.neutral.stubborn.Store(true)
	failed(backup.ErrNotNeutralised.Message)
	c.neutral.stubborn.Store(false)
	c.cell.away.Store(true)
	failed(backup.ErrNoSandbox.Message)
	c.cell.away.Store(false)
	disk.full.Store(true)
	failed("There isn't enough space on our server")
	disk.full.Store(false)
	upgrade("20.0.1.0")
	failed("The backup is of Odoo 19.0, and client " + c.tenant.Name + " has Odoo 20.0 by now")
	upgrade("19.0.1.3")

	// While others have the sandboxes, it waits. One of the database alone has no files to hand out.
	c.crowd(b)
	waiting := c.waits(engine, b)
	c.disperse()
	opstest.Wait(t, engine, waiting, ops.Done)
	link, _, err := c.desk.NeutralLink(t.Context(), c.owner, b.ID)
	require.NoError(t, err)
	files := c.unzipped(link)
	require.Len(t, files, 2)
	require.NotContains(t, files["dump.sql"], smtpPassword)
	require.Len(t, c.stored(), stored+1)

	// Damage is told of, as a look at it would.
	c.expire("1 minute")
	c.truncateDumps()
	opstest.Wait(t, engine, c.asked(b), ops.Abandoned)
	require.False(t, c.reread(b).Good())
	require.Equal(t, 1, c.openAlerts())
	_, _, err = c.desk.NeutralLink(t.Context(), c.owner, b.ID)
	require.ErrorIs(t, err, backup.ErrNotGood)

	// Who deletes a client isn't held up.
	c.crowd(b)
	waiting = c.waits(engine, last)
	_, err = c.pool.Exec(t.Context(), "UPDATE tenants SET state = 'deleting', desired = 'deleted' WHERE id = $1", c.tenant.ID)
	require.NoError(t, err)
	c.disperse()
	opstest.Wait(t, engine, waiting, ops.Abandoned)
	require.Equal(t, "failed", c.state(last))
	_, _, err = c.desk.NeutralLink(t.Context(), c.owner, last.ID)
	require.ErrorIs(t, err, backup.ErrTenantGone)
}

// crowd has others prove something in all of the sandboxes that are for neutral dumps.
func (c *clinic) crowd(b backup.Backup) {
	c.Helper()
	for slot := 1; slot < backup.MostTrials; slot++ {
		_, err := c.pool.Exec(c.Context(), "INSERT INTO backup_proofs (backup_id, tenant_id, requested_by, created_at, slot) VALUES ($1, $2, 'system', now(), $3)",
			b.ID, c.active("other-"+secrets.RandomHex(3)).ID, slot)
		require.NoError(c, err)
	}
}

// disperse ends what crowd began.
func (c *clinic) disperse() {
	c.Helper()
	_, err := c.pool.Exec(c.Context(), "UPDATE backup_proofs SET state = 'given_up', finished_at = now() WHERE state = 'running'")
	require.NoError(c, err)
}

// truncateDumps damages all dumps of databases, but for neutral ones.
func (c *clinic) truncateDumps() {
	c.Helper()
	for _, name := range c.stored() {
		if strings.HasSuffix(name, ".database.dump.zst.age") {
			require.NoError(c, os.Truncate(name, 100))
		}
	}
}

// waits asks for a neutral dump that there is no sandbox for.
func (c *clinic) waits(engine *ops.Engine, b backup.Backup) ops.ID {
	c.Helper()
	id := c.asked(b)
	require.Eventually(c, func() bool {
		events, err := engine.Events(c.Context(), id)
		return err == nil && slices.ContainsFunc(events, func(e ops.Event) bool { return e.Event == "snoozed" })
	}, time.Minute, 10*time.Millisecond)
	return id
}
