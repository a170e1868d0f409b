package pgtools_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/odoozip"
	"controlplane/internal/secrets"
)

const plenty = 1 << 40

// What is printed of a dump is what another database is loaded with.
func TestPrintAndLoad(t *testing.T) {
	t.Parallel()
	from, to := backuptest.NewOdoo(t, "odoo_print_"+secrets.RandomHex(4)), backuptest.NewOdoo(t, "odoo_load_"+secrets.RandomHex(4))
	engine := backuptest.Engine(t)
	server := from.Server(t, engine, from.Image())
	from.Exec(t, `CREATE EXTENSION pg_trgm`)
	from.Exec(t, `CREATE TABLE "strange; name" (a text DEFAULT 'it''s; \');
		CREATE INDEX ON res_partner USING gin (name gin_trgm_ops);
		CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END; $$;
		INSERT INTO "strange; name" VALUES (E'back\\slash'), (E'tab\tnew\nline'), (NULL), ('\.'), (repeat('long', 50000))`)
	snapshot, err := server.Snapshot(t.Context(), from.Access())
	require.NoError(t, err)
	defer snapshot.Close(t.Context())
	var dump, script bytes.Buffer
	require.NoError(t, snapshot.Dump(t.Context(), &dump))
	want, _, err := snapshot.Describe(t.Context())
	require.NoError(t, err)
	require.NoError(t, server.Print(t.Context(), from.Access(), bytes.NewReader(dump.Bytes()), &script))
	require.Contains(t, script.String(), "COPY public.res_partner")
	lost := errors.New("the line went dead")
	require.ErrorIs(t, server.Print(t.Context(), from.Access(), io.MultiReader(bytes.NewReader(dump.Bytes()), iotest.ErrReader(lost)), io.Discard), lost)
	require.Error(t, server.Print(t.Context(), from.Access(), bytes.NewReader(dump.Bytes()[:dump.Len()/2]), io.Discard))

	to.Exec(t, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
	older := strings.NewReader("SET no_such_setting = 0;\nGRANT ALL ON SCHEMA public TO nobody;\n")
	require.NoError(t, server.Load(t.Context(), to.Access(), io.MultiReader(older, &script), plenty))
	loaded, err := server.Snapshot(t.Context(), to.Access())
	require.NoError(t, err)
	defer loaded.Close(t.Context())
	got, _, err := loaded.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, []any{want.Rows, want.UUID, want.Modules}, []any{got.Rows, got.UUID, got.Modules})
	to.Exec(t, `DO $$ BEGIN ASSERT (SELECT count(*) FROM "strange; name" WHERE a IN (E'back\\slash', E'tab\tnew\nline', '\.', repeat('long', 50000)) OR a IS NULL) = 5; END $$`)
}

// A stranger's script can't do what the tenant's own role couldn't, and ends.
func TestLoad_OfHostileScripts(t *testing.T) {
	t.Parallel()
	odoo := backuptest.NewOdoo(t, "odoo_hostile_"+secrets.RandomHex(4))
	server := odoo.Server(t, backuptest.Engine(t), odoo.Image())
	for script, want := range map[string]error{
		"SELECT nonsense;": backup.ErrImportSQL,
		"DO $$ BEGIN EXECUTE 'COPY res_partner FROM PROGRAM ''id'''; END $$;": backup.ErrImportSQL,
		"SELECT pg_read_file('/etc/passwd');":                                 backup.ErrImportSQL,
		"CREATE EXTENSION file_fdw;":                                          backup.ErrImportSQL,
		"SET session_replication_role = replica;":                             backup.ErrImportSQL,
		"SELECT 1; \\! id\n":                                                  odoozip.ErrCommand,
		"SELECT repeat('x', 5000000);":                                        nil, // any error will do: the answer is too large
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user AND pid <> pg_backend_pid(); SELECT pg_sleep(600);": backup.ErrDatabaseUnreachable,
		"SET standard_conforming_strings = off;\nSELECT 'a\\'; COPY res_partner (name) FROM stdin; --';":                                         nil, // the server sees it otherwise than we do
		"CREATE TABLE big AS SELECT md5(generate_series(1, 100000000)::text) AS x;":                                                              odoozip.ErrTooLarge,
		"SET standard_conforming_strings = off;\nSELECT 'a\\'';COPY res_partner (name) FROM stdin;SELECT '":                                      odoozip.ErrCutOff,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		err := server.Load(ctx, odoo.Access(), strings.NewReader(script), 20<<20)
		require.NoError(t, ctx.Err(), script)
		cancel()
		require.Error(t, err, script)
		if want != nil {
			require.ErrorIs(t, err, want, script)
		}
	}
	require.Equal(t, 1000, odoo.Partners(t))
}
