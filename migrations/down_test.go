package migrations_test

import (
	"testing"

	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/require"

	"controlplane/internal/postgres/pgtest"
	"controlplane/migrations"
)

// Each migration can be taken back and done again.
func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	owner, _ := pgtest.NewPair(t)
	db := stdlib.OpenDBFromPool(owner)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS)
	require.NoError(t, err)
	done, err := provider.DownTo(t.Context(), 0)
	require.NoError(t, err)
	require.Len(t, done, len(provider.ListSources()))
	_, err = provider.Up(t.Context())
	require.NoError(t, err)
}
