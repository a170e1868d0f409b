package odoozip_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/odoozip"
)

// run takes a script apart: rows follow their statement.
func run(script io.Reader) (got []string, err error) {
	s := odoozip.NewScript(script)
	for {
		statement, err := s.Next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, statement.SQL)
		if statement.Rows != nil {
			rows, err := io.ReadAll(statement.Rows)
			if err != nil {
				return got, err
			}
			got = append(got, string(rows))
		}
	}
}

const dumped = `--
-- PostgreSQL database dump
--

\restrict 8dJ0Xk3

-- Dumped from database version 17.6 (Debian 17.6-1)
SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE SCHEMA public;
ALTER SCHEMA public OWNER TO pg_database_owner;
CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;
CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;
COMMENT ON EXTENSION pg_trgm IS 'text; similarity';
CREATE FUNCTION public.f(a text) RETURNS text LANGUAGE plpgsql AS $_$
BEGIN /* not ; a comment here */ RETURN $1 || ';' || $$x;$$; END;
$_$;
ALTER FUNCTION public.f(a text) OWNER TO "odoo user";
/* a comment; /* in a comment; */ */ CREATE TABLE public."a;b" (c text DEFAULT 'it''s; \', d text DEFAULT E'\';' );
COPY public."a;b" (c, d) FROM stdin;
one;	\\.
\N	'two
\.


COPY public.empty FROM stdin;
\.
GRANT ALL ON TABLE public."a;b" TO PUBLIC;
CREATE RULE r AS ON UPDATE TO public.t DO ALSO (SELECT 1; SELECT 2);
SELECT a$b, $1 FROM t -- no semicolon follows; none
;
\unrestrict 8dJ0Xk3
`

func TestADumpIsTakenApart(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(dumped), "byte by byte": iotest.OneByteReader(strings.NewReader(dumped))} {
		got, err := run(r)
		require.NoError(t, err, name)
		require.Equal(t, []string{
			"SET statement_timeout = 0",
			"SELECT pg_catalog.set_config('search_path', '', false)",
			"CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public",
			"CREATE FUNCTION public.f(a text) RETURNS text LANGUAGE plpgsql AS $_$\nBEGIN /* not ; a comment here */ RETURN $1 || ';' || $$x;$$; END;\n$_$",
			`CREATE TABLE public."a;b" (c text DEFAULT 'it''s; \', d text DEFAULT E'\';' )`,
			`COPY public."a;b" (c, d) FROM stdin`,
			"one;\t\\\\.\n\\N\t'two\n",
			"COPY public.empty FROM stdin",
			"",
			"CREATE RULE r AS ON UPDATE TO public.t DO ALSO (SELECT 1; SELECT 2)",
			"SELECT a$b, $1 FROM t",
		}, got, name)
	}
}

func TestLongRowsPassThrough(t *testing.T) {
	t.Parallel()
	row := strings.Repeat("0123456789abcdef", 20_000) + "\n"
	got, err := run(strings.NewReader("COPY t FROM stdin;\n" + row + row + "\\.\nSELECT 1;"))
	require.NoError(t, err)
	require.Equal(t, []string{"COPY t FROM stdin", row + row, "SELECT 1"}, got)
}

func TestHostileScriptsAreRefused(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]error{
		"\\! rm -rf /\n":                           odoozip.ErrCommand,
		"SELECT 1 \\g |sh\n;":                      odoozip.ErrCommand,
		"SELECT 1; \\i /etc/passwd":                odoozip.ErrCommand,
		"\\connect postgres\n":                     odoozip.ErrCommand,
		"\\copy t FROM PROGRAM 'id'\n":             odoozip.ErrCommand,
		"SELECT 1 \\restrict x\n":                  odoozip.ErrCommand,
		"COPY t FROM PROGRAM 'id';":                odoozip.ErrStatement,
		"copy/**/t from '/etc/passwd';":            odoozip.ErrStatement,
		"COPY t TO STDOUT;":                        odoozip.ErrStatement,
		"CREATE DATABASE other;":                   odoozip.ErrStatement,
		"alter role postgres SUPERUSER;":           odoozip.ErrStatement,
		"CREATE SUBSCRIPTION s CONNECTION 'x';":    odoozip.ErrStatement,
		"COPY t FROM stdin; SELECT 1;\n":           odoozip.ErrStatement,
		"SELECT '" + strings.Repeat("x", 33<<20):   odoozip.ErrStatement,
		"SELECT $x$" + strings.Repeat("x", 33<<20): odoozip.ErrStatement,
		"SELECT 'never ends;":                      odoozip.ErrCutOff,
		"SELECT $a$ never ends $b$;":               odoozip.ErrCutOff,
		"SELECT 1":                                 odoozip.ErrCutOff,
		"/* never ends":                            odoozip.ErrCutOff,
		"COPY t FROM stdin;\n1\n2":                 odoozip.ErrCutOff,
	} {
		_, err := run(strings.NewReader(script))
		require.ErrorIs(t, err, want, "%.40s", script)
	}
	lost := errors.New("the line went dead")
	_, err := run(io.MultiReader(strings.NewReader("COPY t FROM stdin;\n1\n"), iotest.ErrReader(lost)))
	require.ErrorIs(t, err, lost)
}

func FuzzScript(f *testing.F) {
	f.Add(dumped)
	f.Add("COPY t FROM stdin;\n\\.\n")
	f.Add("SELECT $a$b$a$, E'\\'', \"x\"\"y\" /* /* */ */ -- z\n;")
	f.Fuzz(func(_ *testing.T, script string) {
		_, _ = run(strings.NewReader(script)) // it ends, and doesn't panic
	})
}

// Functions whose bodies are statements are one statement each, as the server writes them and as people do.
func TestABodyOfStatementsIsPartOfItsFunction(t *testing.T) {
	t.Parallel()
	whole := []string{
		"CREATE FUNCTION public.f(a integer) RETURNS integer\n    LANGUAGE sql\n    BEGIN ATOMIC\n SELECT (CASE WHEN (f.a > 1) THEN 1 ELSE 2 END) AS \"end\";\n SELECT 3;\nEND",
		"create or replace procedure p() begin atomic insert into t values (case when true then 'end;' end); select case when a then case when b then 1 end end from t; end",
		"CREATE FUNCTION public.begin() RETURNS text LANGUAGE sql AS $$ BEGIN ATOMIC; $$",
		"CREATE FUNCTION atomic(begin integer) RETURNS integer LANGUAGE sql RETURN CASE WHEN begin > 0 THEN 1 END",
		"CREATE FUNCTION n() BEGIN ATOMIC BEGIN ATOMIC SELECT 1; END; SELECT atomic; END",
		"SELECT 'BEGIN ATOMIC' AS begin, 1 AS atomic",
		"CREATE VIEW v AS SELECT CASE WHEN true THEN 1 END AS begin",
	}
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(strings.Join(whole, ";\n") + ";\n"), "byte by byte": iotest.OneByteReader(strings.NewReader(strings.Join(whole, ";") + ";")),
	} {
		got, err := run(r)
		require.NoError(t, err, name)
		require.Equal(t, whole, got, name)
	}
	_, err := run(strings.NewReader("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; SELECT 2;"))
	require.ErrorIs(t, err, odoozip.ErrCutOff)
}
