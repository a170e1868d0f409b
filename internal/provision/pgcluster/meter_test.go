package pgcluster_test

import (
	"testing"

	"github.com/stretchr/testify/require"
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
