package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/migrations"
)

func TestGrant_TheLesserRoleCantTouchTheLogNorTheSchema(t *testing.T) {
	t.Parallel()
	owner, lesser := pgtest.NewPair(t)
	_, err := lesser.Exec(t.Context(), "INSERT INTO activity_log (actor, action) VALUES ('ada', 'x')")
	require.NoError(t, err)
	refused := []string{
		"UPDATE activity_log SET actor = 'eve'",
		"DELETE FROM activity_log",
		"TRUNCATE activity_log",
		"ALTER TABLE activity_log DISABLE TRIGGER ALL",
		"DROP TRIGGER activity_log_append_only ON activity_log",
		"DROP TABLE activity_log",
		"ALTER TABLE activity_log RENAME TO log",
		"CREATE TRIGGER mine BEFORE INSERT ON activity_log FOR EACH ROW EXECUTE FUNCTION refuse_change()",
		"CREATE RULE mine AS ON INSERT TO activity_log DO INSTEAD NOTHING",
		"SET session_replication_role = replica",
		"INSERT INTO activity_log (at, actor, action) VALUES ('2020-01-01', 'eve', 'x')",
		"INSERT INTO activity_log (id, actor, action) OVERRIDING SYSTEM VALUE VALUES (-1, 'eve', 'x')",
		"SELECT setval('activity_log_id_seq', 1)",
		"ALTER SEQUENCE activity_log_id_seq RESTART",
		"UPDATE audit_batches SET hash = hash",
		"DELETE FROM audit_batches",
		"TRUNCATE audit_batches",
		"CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		"CREATE TABLE mine (id int)",
		"ALTER TABLE accounts ADD COLUMN mine text",
		"TRUNCATE accounts CASCADE",
		"UPDATE installation SET id = 'x'",
		"DELETE FROM goose_db_version",
		"CREATE ROLE mine",
	}
	for _, sql := range refused {
		_, err := lesser.Exec(t.Context(), sql)
		var denied *pgconn.PgError
		require.ErrorAs(t, err, &denied, sql)
		require.Equal(t, "42501", denied.Code, "%s: %s", sql, denied.Message)
	}
	var actor string
	require.NoError(t, owner.QueryRow(t.Context(), "SELECT actor FROM activity_log").Scan(&actor))
	require.Equal(t, "ada", actor)
}

func TestExcess_NamesWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	owner, lesser := pgtest.NewPair(t)
	excess, err := postgres.Excess(t.Context(), lesser)
	require.NoError(t, err)
	require.Empty(t, excess)
	excess, err = postgres.Excess(t.Context(), owner)
	require.NoError(t, err)
	require.Contains(t, excess, "it is a superuser")
	require.Contains(t, excess, "it owns activity_log")
	require.Contains(t, excess, "it may delete audit_batches")
	require.Contains(t, excess, "it may create tables in the schema")
}

// Grants that somebody made by hand are seen, and mended by the next migrate.
func TestGrant_TakesAwayWhatWasGivenByHand(t *testing.T) {
	t.Parallel()
	owner, _ := pgtest.NewPair(t)
	role := ownRole(t, owner)
	require.NoError(t, postgres.Grant(t.Context(), owner, role))
	_, err := owner.Exec(t.Context(), "GRANT DELETE, UPDATE (actor) ON activity_log TO "+role)
	require.NoError(t, err)
	require.Equal(t, []string{"it may update activity_log", "it may delete activity_log"}, excessOf(t, owner, role))
	require.NoError(t, postgres.Grant(t.Context(), owner, role))
	require.Empty(t, excessOf(t, owner, role))
}

func TestGrant_SaysWhatTheOperatorForgot(t *testing.T) {
	t.Parallel()
	owner, _ := pgtest.NewPair(t)
	require.ErrorContains(t, postgres.Grant(t.Context(), owner, "nobody_of_this_name"), "there is no such role")
	var self string
	require.NoError(t, owner.QueryRow(t.Context(), "SELECT current_user").Scan(&self))
	require.ErrorContains(t, postgres.Grant(t.Context(), owner, self), "it is the role that migrates")
}

func TestPending_WorksForTheLesserRole(t *testing.T) {
	t.Parallel()
	pending, err := postgres.Pending(t.Context(), pgtest.New(t), migrations.FS)
	require.NoError(t, err)
	require.Zero(t, pending)
}

// ownRole makes a role that ends with the test.
func ownRole(t *testing.T, owner *pgxpool.Pool) string {
	t.Helper()
	role := "lesser_" + secrets.RandomHex(6)
	_, err := owner.Exec(t.Context(), "CREATE ROLE "+role)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := owner.Exec(context.Background(), "DROP OWNED BY "+role)
		require.NoError(t, err)
		_, err = owner.Exec(context.Background(), "DROP ROLE "+role)
		require.NoError(t, err)
	})
	return role
}

// excessOf asks in role's place.
func excessOf(t *testing.T, owner *pgxpool.Pool, role string) (excess []string) {
	t.Helper()
	require.NoError(t, pgx.BeginFunc(t.Context(), owner, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SET LOCAL ROLE "+role)
		require.NoError(t, err)
		excess, err = postgres.Excess(t.Context(), tx)
		return err
	}))
	return excess
}

// The queue rebuilds its indexes once a night. Before PostgreSQL 17 only their owner can, and the queue logs that it couldn't.
func TestGrant_LetsTheQueueRebuildItsIndexes(t *testing.T) {
	t.Parallel()
	lesser := pgtest.New(t)
	var major int
	require.NoError(t, lesser.QueryRow(t.Context(), "SELECT current_setting('server_version_num')::int / 10000").Scan(&major))
	_, err := lesser.Exec(t.Context(), "REINDEX INDEX CONCURRENTLY river_job_args_index")
	if major < 17 {
		require.ErrorContains(t, err, "must be owner")
		return
	}
	require.NoError(t, err)
}
