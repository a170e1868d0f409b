package pgcluster_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
)

// What is loaded there is loaded by a role that can do nothing elsewhere, and both go.
func TestScratch_IsApartFromAllElse(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		for _, password := range []secrets.Secret{"first-attempt", "second-attempt"} {
			name, err := b.BeginScratch(t.Context(), "backup/17", password, 1024)
			require.NoError(t, err)
			conn := b.login(t, name, password, name)
			_, err = conn.Exec(t.Context(), "CREATE EXTENSION pg_trgm; CREATE TABLE public.x ()")
			require.NoError(t, err)
			_, err = conn.Exec(t.Context(), "CREATE ROLE another")
			require.Error(t, err)
			_, err = b.try(t.Context(), name, password, tenant.Name)
			require.Error(t, err, "the tenant's isn't its")
			_, err = b.try(t.Context(), tenant.Name, tenant.Password, name)
			require.Error(t, err, "nor the other way")
		}
		live := func(answer bool) func(context.Context, string) (bool, error) {
			return func(_ context.Context, subject string) (bool, error) {
				require.Equal(t, "backup/17", subject, "tenants aren't looked at")
				return answer, nil
			}
		}
		swept, err := b.SweepScratch(t.Context(), live(true))
		require.NoError(t, err)
		require.Zero(t, swept)
		swept, err = b.SweepScratch(t.Context(), live(false))
		require.NoError(t, err)
		require.Equal(t, 1, swept)
		for range 2 {
			require.NoError(t, b.RemoveScratch(t.Context(), "backup/17"))
		}
		left, err := b.ClusterObjects(t.Context())
		require.NoError(t, err)
		for _, o := range left {
			require.NotEqual(t, "backup/17", o.Owner, o.Name)
		}
	})
}
