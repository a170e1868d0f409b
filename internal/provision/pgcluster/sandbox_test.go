package pgcluster_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/provision"
)

// The role of a sandbox owns its database, reaches no other, and goes with it; another subject's is left alone.
func TestSandbox(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		name := "odooproof_" + b.installation + "_17"
		require.NoError(t, b.BeginSandbox(t.Context(), name, "backup/17", "first-password"))
		conn := b.login(t, name, "first-password", name)
		_, err := conn.Exec(t.Context(), "CREATE EXTENSION pg_trgm; CREATE TABLE restored (i int)")
		require.NoError(t, err)
		_, err = b.try(t.Context(), name, "first-password", b.template)
		require.Error(t, err)
		require.NoError(t, b.SetSandboxPassword(t.Context(), name, "backup/17", "second-password"))
		_, err = b.try(t.Context(), name, "first-password", name)
		require.Error(t, err)
		b.login(t, name, "second-password", name)
		require.ErrorIs(t, b.SetSandboxPassword(t.Context(), name, "backup/18", "x"), provision.ErrForeign)
		require.ErrorIs(t, b.BeginSandbox(t.Context(), name, "backup/18", "x"), provision.ErrForeign)

		require.NoError(t, b.BeginSandbox(t.Context(), name, "backup/17", "third-password"), "a repeat begins anew")
		require.False(t, value[bool](t, b.login(t, name, "third-password", name), "SELECT to_regclass('restored') IS NOT NULL"))
		for range 2 {
			require.NoError(t, b.RemoveTenant(t.Context(), name, "backup/17"))
		}
		require.Zero(t, value[int](t, b.super, "SELECT count(*) FROM pg_database WHERE datname = $1", name))
		require.Zero(t, value[int](t, b.super, "SELECT count(*) FROM pg_roles WHERE rolname = $1", name))
		err = b.SetSandboxPassword(t.Context(), name, "backup/17", "x")
		require.Equal(t, errs.Unavailable, errs.KindOf(err))
	})
}
