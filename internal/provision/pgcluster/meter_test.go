package pgcluster_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision/pgcluster"
)

func TestDatabaseSize(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		t.Helper()
		tenant := b.provisioned(t, "tenant/1")
		before, err := b.DatabaseSize(t.Context(), tenant.Name)
		require.NoError(t, err)
		require.Greater(t, before, int64(1<<20))
		conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		_, err = conn.Exec(t.Context(), "CREATE TABLE big AS SELECT repeat(md5(n::text), 20) AS text FROM generate_series(1, 5000) n")
		require.NoError(t, err)
		after, err := b.DatabaseSize(t.Context(), tenant.Name)
		require.NoError(t, err)
		require.Greater(t, after, before+2<<20)

		none, err := b.DatabaseSize(t.Context(), "odoo_nobody")
		require.NoError(t, err)
		require.Zero(t, none)
	})
}

func TestLoad(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		t.Helper()
		load, err := b.Load(t.Context())
		require.NoError(t, err)
		require.Equal(t, 197, load.MaxConnections)
		require.Positive(t, load.Connections)
		require.Less(t, load.Connections, load.MaxConnections)
	})
}

func TestFreeBytes(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		_, known, err := b.FreeBytes(t.Context())
		require.NoError(t, err)
		require.False(t, known)
		const disk = 1 << 40
		c, err := pgcluster.New(t.Context(), pgcluster.Options{
			Host: b.server.host, Port: b.server.port, User: controlRole, Password: b.server.password, SSLMode: "disable", DiskBytes: disk, Installation: b.installation,
		})
		require.NoError(t, err)
		t.Cleanup(c.Close)
		size, err := b.DatabaseSize(t.Context(), b.template)
		require.NoError(t, err)
		free, known, err := c.FreeBytes(t.Context())
		require.NoError(t, err)
		require.True(t, known)
		require.Less(t, free, disk-size, "all databases are counted")
		require.Greater(t, free, int64(disk/2))
	})
}
