package pgcluster_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

// content says which database the tenant finds under its name.
func (b *bundle) content(t *testing.T, tenant provision.TenantDatabase) string {
	t.Helper()
	conn, err := b.try(t.Context(), tenant.Name, tenant.Password, tenant.Name)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	return value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'kept'")
}

// restored makes a database beside the tenant's, as pg_restore would: by the tenant's own role, which owns it all.
func (b *bundle) restored(t *testing.T, tenant provision.TenantDatabase) {
	t.Helper()
	into, err := b.BeginRestore(t.Context(), tenant.Name, tenant.Subject)
	require.NoError(t, err)
	conn, err := b.try(t.Context(), tenant.Name, tenant.Password, into)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `CREATE EXTENSION pg_trgm; CREATE TABLE ir_config_parameter (key text, value text);
		INSERT INTO ir_config_parameter VALUES ('kept', 'as it was')`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

func (b *bundle) databases(t *testing.T, tenant provision.TenantDatabase) int {
	t.Helper()
	return value[int](t, b.super, "SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)", tenant.Name)
}

func TestARestoreIsSwappedAndTakenBack(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant, other := b.provisioned(t, "tenant/1"), b.provisioned(t, "tenant/2")
		require.Error(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, time.Now()), "there is nothing to swap")
		require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject), "nor to undo")
		b.restored(t, tenant)
		b.restored(t, tenant)
		require.Equal(t, "as it is", b.content(t, tenant))
		_, err := b.try(t.Context(), other.Name, other.Password, tenant.Name+"~new")
		require.Error(t, err, "nobody else's")

		busy := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		for range 2 {
			require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, time.Now()))
			require.Equal(t, "as it was", b.content(t, tenant))
		}
		require.Error(t, busy.Ping(t.Context()), "who was connected is cut off")
		require.Equal(t, tenant.Name, value[string](t, b.super, "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", tenant.Name))
		for range 2 {
			require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject))
			require.Equal(t, "as it is", b.content(t, tenant))
		}
		require.Equal(t, 1, b.databases(t, tenant))
		status, err := b.Inspect(t.Context())
		require.NoError(t, err)
		require.Empty(t, status.OpenDatabases)
	})
}

func TestWhatWasBeforeARestoreIsKeptForATime(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		swapped := time.Now()
		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, swapped))
		objects, err := b.ClusterObjects(t.Context())
		require.NoError(t, err)
		for _, o := range objects {
			require.Contains(t, []string{"tenant/1", "template/" + b.template, "templates"}, o.Owner, o.Name)
		}
		dropped, err := b.SweepRestores(t.Context(), swapped.Add(-time.Minute))
		require.NoError(t, err)
		require.Zero(t, dropped)
		dropped, err = b.SweepRestores(t.Context(), swapped.Add(time.Minute))
		require.NoError(t, err)
		require.Equal(t, 1, dropped)
		require.Equal(t, "as it was", b.content(t, tenant))

		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, swapped))
		b.restored(t, tenant)
		require.NoError(t, b.RemoveTenant(t.Context(), tenant.Name, tenant.Subject))
		require.Zero(t, b.databases(t, tenant), "all of it goes with the tenant")
	})
}

// A database that is lost altogether is what backups are for.
func TestARestoreNeedsNoDatabase(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		_, err := b.super.Exec(context.Background(), "DROP DATABASE "+pgx.Identifier{tenant.Name}.Sanitize())
		require.NoError(t, err)
		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, time.Now()))
		require.Equal(t, "as it was", b.content(t, tenant))
		require.ErrorIs(t, b.UndoRestore(t.Context(), tenant.Name, "tenant/9"), provision.ErrForeign)
	})
}
