package pgcluster_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

func TestHasTenant(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.tenant(t, "tenant/1")
		has := func(subject string) (bool, error) { return b.HasTenant(t.Context(), tenant.Name, subject) }
		there, err := has("tenant/1")
		require.NoError(t, err)
		require.False(t, there)
		require.NoError(t, b.EnsureTenant(t.Context(), tenant))
		there, err = has("tenant/1")
		require.NoError(t, err)
		require.False(t, there, "a clone that isn't handed over has nothing of the tenant's")
		require.NoError(t, b.HandOver(t.Context(), tenant.Name, identity()))
		there, err = has("tenant/1")
		require.NoError(t, err)
		require.True(t, there)
		_, err = has("tenant/2")
		require.ErrorIs(t, err, provision.ErrForeign)
	})
}

func TestLimitConnections(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		limit := func() int {
			return value[int](t, b.super, "SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", tenant.Name)
		}
		for _, step := range []struct {
			limit int
			lower bool
			want  int
		}{{20, false, 20}, {12, false, 20}, {12, true, 12}, {12, false, 12}} {
			for range 2 {
				require.NoError(t, b.LimitConnections(t.Context(), tenant.Name, tenant.Subject, step.limit, step.lower))
				require.Equal(t, step.want, limit())
			}
		}
		require.ErrorIs(t, b.LimitConnections(t.Context(), tenant.Name, "tenant/2", 30, true), provision.ErrForeign)
		require.Error(t, b.LimitConnections(t.Context(), "odoo_nobody", "tenant/3", 30, true))
		require.Equal(t, 12, limit())
		b.login(t, tenant.Name, tenant.Password, tenant.Name)
	})
}

// No query of a tenant's fills the server's disk, and no tenant lifts the limit.
func TestLimitTempFiles(t *testing.T) {
	t.Parallel()
	const sorts = "SELECT count(*) FROM (SELECT md5(n::text) FROM generate_series(1, 200000) n ORDER BY 1 OFFSET 1) s"
	onEachVersion(t, func(t *testing.T, b *bundle) {
		require.NoError(t, b.EnsureSpares(t.Context(), b.template, 1))
		spare, fresh := b.provisioned(t, "tenant/1"), b.provisioned(t, "tenant/2")
		for _, tenant := range []provision.TenantDatabase{spare, fresh} {
			name := pgx.Identifier{tenant.Name}.Sanitize()
			for _, lift := range []string{
				"SET temp_file_limit = -1", "RESET temp_file_limit", "ALTER ROLE " + name + " SET temp_file_limit = -1", "ALTER ROLE " + name + " RESET temp_file_limit",
				"ALTER ROLE " + name + " RESET ALL", "ALTER DATABASE " + name + " SET temp_file_limit = -1", "SELECT set_config('temp_file_limit', '-1', false)",
			} {
				for range 2 { // in the session, and in those that follow
					conn, err := b.try(t.Context(), tenant.Name, tenant.Password, tenant.Name)
					require.NoError(t, err)
					_, _ = conn.Exec(t.Context(), lift)
					_, err = conn.Exec(t.Context(), sorts)
					require.ErrorContains(t, err, "53400", lift)
					require.NoError(t, conn.Close(t.Context()))
				}
			}
		}
		require.False(t, b.found(t)[fresh.Name].Unbounded)
		_, err := b.super.Exec(t.Context(), "ALTER ROLE "+fresh.Name+" RESET temp_file_limit")
		require.NoError(t, err)
		require.True(t, b.found(t)[fresh.Name].Unbounded, "one of an earlier release")
		for range 2 {
			require.NoError(t, b.LimitTempFiles(t.Context(), fresh.Name, fresh.Subject, 100))
		}
		_, err = b.login(t, fresh.Name, fresh.Password, fresh.Name).Exec(t.Context(), sorts)
		require.NoError(t, err, "there is room for what is usual")
		require.ErrorIs(t, b.LimitTempFiles(t.Context(), fresh.Name, "tenant/9", 1), provision.ErrForeign)
	})
}

// The next tenant of the name is left alone by whoever comes late to remove the first.
func TestRemoveTenant_aNameThatWasUsedAgain(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		first := b.provisioned(t, "tenant/1")
		require.NoError(t, b.RemoveTenant(t.Context(), first.Name, first.Subject))
		next := first
		next.Subject = "tenant/2"
		require.NoError(t, b.EnsureTenant(t.Context(), next))
		require.NoError(t, b.RemoveTenant(t.Context(), first.Name, first.Subject), "also one that is half made")
		require.NoError(t, b.HandOver(t.Context(), next.Name, identity()))
		require.NoError(t, b.RemoveTenant(t.Context(), first.Name, first.Subject))
		b.login(t, next.Name, next.Password, next.Name)
		require.NoError(t, b.RemoveTenant(t.Context(), next.Name, next.Subject))
	})
}

// Odoo also listens in "postgres", and its sessions there don't end with the database.
func TestRemoveTenant_endsItsSessionsEverywhere(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		inside, bus := b.login(t, tenant.Name, tenant.Password, tenant.Name), b.login(t, tenant.Name, tenant.Password, "postgres")
		_, err := inside.Exec(t.Context(), "BEGIN; LOCK TABLE res_users; INSERT INTO discuss_channel VALUES (77, 'half done')")
		require.NoError(t, err)
		require.NoError(t, b.RemoveTenant(t.Context(), tenant.Name, tenant.Subject))
		require.Error(t, inside.Ping(t.Context()))
		require.Error(t, bus.Ping(t.Context()))
		require.Equal(t, 0, value[int](t, b.super, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", tenant.Name))
	})
}
