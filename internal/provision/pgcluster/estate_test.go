package pgcluster_test

import (
	"testing"

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
