package pgtest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/migrations"
)

func TestNew_GivesAMigratedDatabase(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)

	pending, err := postgres.Pending(t.Context(), pool, migrations.FS)
	require.NoError(t, err)
	require.Zero(t, pending)

	id, err := postgres.InstallationID(t.Context(), pool)
	require.NoError(t, err)
	require.Len(t, id, 12)
}

func TestNew_EachDatabaseIsAnInstallation(t *testing.T) {
	t.Parallel()
	a, err := postgres.InstallationID(t.Context(), pgtest.New(t))
	require.NoError(t, err)
	b, err := postgres.InstallationID(t.Context(), pgtest.New(t))
	require.NoError(t, err)
	require.NotEqual(t, a, b, "each test is an installation of its own, so that tests on one engine keep apart")
}
