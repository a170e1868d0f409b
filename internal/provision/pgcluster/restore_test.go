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
		at := time.Now()
		require.Error(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 1), "there is nothing to swap")
		require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject, at, 1), "nor to undo")
		b.restored(t, tenant)
		b.restored(t, tenant)
		require.Equal(t, "as it is", b.content(t, tenant))
		_, err := b.try(t.Context(), other.Name, other.Password, tenant.Name+"~new")
		require.Error(t, err, "nobody else's")

		busy := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		for range 2 {
			require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 1))
			require.Equal(t, "as it was", b.content(t, tenant))
		}
		require.Error(t, busy.Ping(t.Context()), "who was connected is cut off")
		require.Equal(t, tenant.Name, value[string](t, b.super, "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", tenant.Name))
		for range 2 {
			require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject, at, 1))
			require.Equal(t, "as it is", b.content(t, tenant))
		}
		require.Equal(t, 1, b.databases(t, tenant))
		status, err := b.Inspect(t.Context())
		require.NoError(t, err)
		require.Empty(t, status.OpenDatabases)
	})
}

// What an earlier restore put aside is neither taken back nor dropped by a later one, at whatever second that is.
func TestARestoreLeavesAnEarlierOneAlone(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant, at := b.provisioned(t, "tenant/1"), time.Now()
		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 10_001))
		require.Equal(t, "as it was", b.content(t, tenant))

		open := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		require.NoError(t, b.DropRestored(t.Context(), tenant.Name, tenant.Subject), "of one that never began")
		require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject, at, 10_002))
		require.NoError(t, open.Ping(t.Context()), "nobody was cut off")
		require.Error(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 10_002), "the other one's isn't this one's")
		require.Equal(t, "as it was", b.content(t, tenant))

		b.restored(t, tenant)
		require.Equal(t, 3, b.databases(t, tenant))
		require.NoError(t, b.DropRestored(t.Context(), tenant.Name, tenant.Subject))
		require.Equal(t, 2, b.databases(t, tenant))
		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 10_002))
		require.Equal(t, 3, b.databases(t, tenant))
		require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject, at, 10_002))
		require.NoError(t, b.UndoRestore(t.Context(), tenant.Name, tenant.Subject, at, 10_001))
		require.Equal(t, "as it is", b.content(t, tenant))
		require.Equal(t, 1, b.databases(t, tenant))
	})
}

func TestWhatWasBeforeARestoreIsKeptForATime(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		swapped := time.Now()
		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, swapped, 1))
		objects, err := b.ClusterObjects(t.Context())
		require.NoError(t, err)
		for _, o := range objects {
			require.Contains(t, []string{"tenant/1", "template/" + b.template, "templates"}, o.Owner, o.Name)
		}
		b.restored(t, tenant)
		sweep := func(before, last time.Time, idle bool) int {
			dropped, err := b.SweepRestores(t.Context(), before, func(_ context.Context, subject string) (time.Time, bool, error) {
				require.Equal(t, tenant.Subject, subject)
				return last, idle, nil
			})
			require.NoError(t, err)
			return dropped
		}
		later, sooner := swapped.Add(time.Minute), swapped.Add(-time.Minute)
		require.Zero(t, sweep(sooner, swapped, true), "too young")
		require.Zero(t, sweep(later, sooner, false), "a restore isn't over")
		require.Equal(t, 1, sweep(later, later, true), "what was there before")
		require.Equal(t, 1, sweep(later, sooner, true), "what a restore left that was given up")
		require.Equal(t, 1, b.databases(t, tenant))
		require.Equal(t, "as it was", b.content(t, tenant))

		b.restored(t, tenant)
		require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, swapped, 1))
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
		at := time.Now()
		for range 2 {
			require.NoError(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 1), "also if nobody heard that it was done")
			require.Equal(t, "as it was", b.content(t, tenant))
		}
		require.Error(t, b.SwapRestored(t.Context(), tenant.Name, tenant.Subject, at, 2))
		require.ErrorIs(t, b.DropRestored(t.Context(), tenant.Name, "tenant/9"), provision.ErrForeign)
		require.ErrorIs(t, b.UndoRestore(t.Context(), tenant.Name, "tenant/9", at, 1), provision.ErrForeign)
	})
}
