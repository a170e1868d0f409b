// Package pgtest gives each test a migrated platform database of its own, cloned from a template on the server named by
// TEST_DATABASE_URL, or on a PostgreSQL container that it starts through testcontainers when that is unset.
package pgtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/migrations"
)

// New returns a pool on a fresh, migrated database that is dropped when the test ends. Its user is as the running platform's, which can
// change neither the schema nor the audit log, so that a statement it may not run fails in a test. See AsOwner for what else a test needs.
func New(tb testing.TB) *pgxpool.Pool {
	tb.Helper()
	return open(tb, LesserURL(NewURL(tb)))
}

// AsOwner runs sql on pool's database as the superuser, for tests that make tables of their own.
func AsOwner(tb testing.TB, pool *pgxpool.Pool, sql string) {
	tb.Helper()
	server, err := serverURL()
	require.NoError(tb, err, "a PostgreSQL server for tests")
	require.NoError(tb, execAt(tb.Context(), withDatabase(server, pool.Config().ConnConfig.Database), sql))
}

// NewPair returns two pools on one database: a superuser's and New's.
func NewPair(tb testing.TB) (owner, lesser *pgxpool.Pool) {
	tb.Helper()
	url := NewURL(tb)
	return open(tb, url), open(tb, LesserURL(url))
}

func open(tb testing.TB, url string) *pgxpool.Pool {
	tb.Helper()
	pool, err := postgres.Open(tb.Context(), url, postgres.Options{MaxConns: 8})
	require.NoError(tb, err)
	tb.Cleanup(pool.Close)
	return pool
}

// LesserURL turns what NewURL returned into the URL of the lesser role.
func LesserURL(of string) string {
	u, err := url.Parse(of)
	if err != nil {
		return of
	}
	u.User = url.UserPassword(lesserRole, lesserRole)
	return u.String()
}

// lesserRole is one for all test databases of a server.
const lesserRole = "controlplane_test_lesser"

// NewURL is for tests that open the database themselves. Its user is the superuser; see LesserURL.
func NewURL(tb testing.TB) string {
	tb.Helper()
	server, err := serverURL()
	require.NoError(tb, err, "a PostgreSQL server for tests")
	template, err := ensureTemplate(tb.Context(), server)
	require.NoError(tb, err, "migrate the template database")
	name := "test_" + secrets.RandomHex(8)
	require.NoError(tb, execAt(tb.Context(), server, "CREATE DATABASE "+name+" TEMPLATE "+template))
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := execAt(ctx, server, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			tb.Logf("drop %s: %v", name, err)
		}
	})
	// A clone would bear the template's installation id; tests that share an engine must not own each other's things.
	fresh := "UPDATE installation SET id = substr(replace(gen_random_uuid()::text, '-', ''), 1, 12)"
	require.NoError(tb, execAt(tb.Context(), withDatabase(server, name), fresh))
	return withDatabase(server, name)
}

// ServerURL returns the URL of the server itself, as a superuser, for tests that need roles or databases of other kinds.
func ServerURL(tb testing.TB) string {
	tb.Helper()
	server, err := serverURL()
	require.NoError(tb, err, "a PostgreSQL server for tests")
	return server
}

var serverURL = sync.OnceValues(func() (string, error) { //nolint:gochecknoglobals // one server for the whole test binary
	if u := os.Getenv("TEST_DATABASE_URL"); u != "" { //nolint:forbidigo // tests have no config package
		return u, nil
	}
	return startContainer(context.Background())
})

// startContainer is for a plain "go test" by hand; make test sets TEST_DATABASE_URL instead.
func startContainer(ctx context.Context) (string, error) {
	image := os.Getenv("POSTGRES_IMAGE") //nolint:forbidigo // tests have no config package
	if image == "" {
		image = "postgres:17"
	}
	c, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		Started: true,
		ContainerRequest: testcontainers.ContainerRequest{
			Image: image, ExposedPorts: []string{"5432/tcp"},
			Env:        map[string]string{"POSTGRES_PASSWORD": "postgres"},
			Cmd:        []string{"postgres", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_connections=500"},
			WaitingFor: wait.ForLog("database system is ready to accept connections").WithOccurrence(2).WithStartupTimeout(time.Minute),
		},
	})
	if err != nil {
		return "", fmt.Errorf("start a PostgreSQL container (or set TEST_DATABASE_URL): %w", err)
	}
	endpoint, err := c.PortEndpoint(ctx, "5432/tcp", "")
	if err != nil {
		return "", fmt.Errorf("find the port of the PostgreSQL container: %w", err)
	}
	return "postgres://postgres:postgres@" + endpoint + "/postgres?sslmode=disable", nil
}

var templateMu sync.Mutex //nolint:gochecknoglobals // guards the creation within one test binary

// ensureTemplate makes the migrated template once per state of the migrations; test binaries that run at the same time queue on
// an advisory lock.
func ensureTemplate(ctx context.Context, server string) (string, error) {
	templateMu.Lock()
	defer templateMu.Unlock()
	sum, err := hashMigrations()
	if err != nil {
		return "", err
	}
	name := "template_" + sum
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", name); err != nil {
		return "", err
	}
	var ready bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)", name).Scan(&ready); err != nil || ready {
		return name, err
	}
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + name, "CREATE DATABASE " + name} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", err
		}
	}
	if err := ensureLesserRole(ctx, conn); err != nil {
		return "", err
	}
	if err := migrate(ctx, withDatabase(server, name)); err != nil {
		return "", err
	}
	_, err = conn.Exec(ctx, "ALTER DATABASE "+name+" WITH IS_TEMPLATE true")
	return name, err
}

func ensureLesserRole(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext($1))", lesserRole); err != nil {
		return err
	}
	var exists bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", lesserRole).Scan(&exists)
	if err != nil || exists {
		return err
	}
	_, err = conn.Exec(ctx, "CREATE ROLE "+lesserRole+" LOGIN PASSWORD '"+lesserRole+"'")
	return err
}

func migrate(ctx context.Context, url string) error {
	pool, err := postgres.Open(ctx, url, postgres.Options{})
	if err != nil {
		return err
	}
	defer pool.Close()
	if err := postgres.Migrate(ctx, pool, migrations.FS, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return postgres.Grant(ctx, pool, lesserRole)
}

func hashMigrations() (string, error) {
	h := sha256.New()
	h.Write([]byte("3")) // raise when the way of migrating changes
	err := fs.WalkDir(migrations.FS, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations.FS, path)
		h.Write([]byte(path))
		h.Write(text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

func execAt(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, sql)
	return err
}

// withDatabase swaps the database name in a URL.
func withDatabase(server, name string) string {
	u, err := url.Parse(server)
	if err != nil {
		return strings.Replace(server, "/postgres", "/"+name, 1)
	}
	u.Path = "/" + name
	return u.String()
}
