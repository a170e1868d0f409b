// Package backuptest gives tests a database that looks like an Odoo's, on the test server, and what else a backup is taken with.
package backuptest

import (
	"context"
	"crypto/sha1" //nolint:gosec // as Odoo does
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/provision/docker"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
)

// Odoo is a database with the tables of Odoo's that matter to a backup, and a role of the same name that owns it.
type Odoo struct {
	Name     string
	Password secrets.Secret
	Major    string // of the server
	host     string
	port     int
	super    *url.URL
}

// NewOdoo makes one called name, which goes with the test. Its password is one that has to be quoted wherever it is used.
func NewOdoo(t *testing.T, name string) *Odoo {
	t.Helper()
	return NewOdooOf(t, name, `p:w\d `+secrets.RandomPassword(16))
}

// NewOdooOf makes one with a password that is known elsewhere.
func NewOdooOf(t *testing.T, name string, password secrets.Secret) *Odoo {
	t.Helper()
	super, err := url.Parse(pgtest.ServerURL(t))
	require.NoError(t, err)
	port, err := strconv.Atoi(super.Port())
	require.NoError(t, err)
	o := &Odoo{Name: name, Password: password, host: super.Hostname(), port: port, super: super}
	conn := o.connect(t, "")
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	o.Major, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	quoted := pgx.Identifier{name}.Sanitize()
	for _, sql := range []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD '%s'", quoted, o.Password.Reveal()),
		"CREATE DATABASE " + quoted + " OWNER " + quoted,
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	t.Cleanup(func() { o.drop(t) })
	o.Exec(t, Content)
	return o
}

// Content is what each has from the beginning: the tables, and a thousand customers.
const Content = `
	CREATE TABLE ir_attachment (id serial PRIMARY KEY, name text, store_fname text);
	CREATE TABLE ir_module_module (id serial PRIMARY KEY, name text, state text, latest_version text);
	CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key text UNIQUE, value text, create_uid integer, write_uid integer,
		create_date timestamp, write_date timestamp);
	CREATE TABLE res_partner (id serial PRIMARY KEY, name text);
	INSERT INTO ir_module_module (name, state, latest_version) VALUES ('base', 'installed', '19.0.1.3'), ('web', 'installed', '19.0.1.0'), ('crm', 'uninstalled', NULL);
	INSERT INTO ir_config_parameter (key, value) VALUES ('database.uuid', gen_random_uuid()::text);
	INSERT INTO res_partner (name) SELECT 'a customer of the tenant, number ' || n FROM generate_series(1, 1000) n`

// Databases are its own and those that restores left beside it.
func (o *Odoo) Databases(t *testing.T) []string {
	t.Helper()
	conn := o.connect(t, "")
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	rows, err := conn.Query(t.Context(), "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1) ORDER BY 1", o.Name)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

// drop drops the database, and what restores left beside it.
func (o *Odoo) drop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, o.super.String())
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, "SELECT datname::text FROM pg_database WHERE starts_with(datname, $1)", o.Name)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	for _, name := range names {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
		require.NoError(t, err)
	}
	_, err = conn.Exec(ctx, "DROP ROLE IF EXISTS "+pgx.Identifier{o.Name}.Sanitize())
	require.NoError(t, err)
}

// Lose drops the database, as whoever loses one does; the role stays.
func (o *Odoo) Lose(t *testing.T) {
	t.Helper()
	conn := o.connect(t, "")
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err := conn.Exec(t.Context(), "DROP DATABASE "+pgx.Identifier{o.Name}.Sanitize()+" WITH (FORCE)")
	require.NoError(t, err)
}

// Cluster is the test server as the control role works on it: one that may make databases, and is a member of the tenant's role.
func (o *Odoo) Cluster(t *testing.T, subject string) *pgcluster.Cluster {
	t.Helper()
	installation, control, password := secrets.RandomHex(6), "control_"+secrets.RandomHex(6), secrets.RandomPassword(20)
	conn := o.connect(t, "")
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	tenant := pgx.Identifier{o.Name}.Sanitize()
	for _, sql := range []string{
		fmt.Sprintf("CREATE ROLE %s LOGIN CREATEDB PASSWORD '%s'", control, password.Reveal()),
		fmt.Sprintf("GRANT %s TO %s", tenant, control),
		fmt.Sprintf("COMMENT ON ROLE %s IS 'odoo-hosting %s %s'", tenant, installation, subject),
	} {
		_, err := conn.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	c, err := pgcluster.New(t.Context(), pgcluster.Options{
		Host: o.host, Port: o.port, User: control, Password: password, SSLMode: "disable", Installation: installation, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		o.drop(t)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, o.super.String())
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, "DROP ROLE "+control)
		require.NoError(t, err)
	})
	return c
}

// Parameter returns one of Odoo's system parameters, "" for none.
func (o *Odoo) Parameter(t *testing.T, key string) (value string) {
	t.Helper()
	conn := o.connect(t, o.Name)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT coalesce(max(value), '') FROM ir_config_parameter WHERE key = $1", key).Scan(&value))
	return value
}

// Partners counts the customers in the database.
func (o *Odoo) Partners(t *testing.T) (n int) {
	t.Helper()
	conn := o.connect(t, o.Name)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM res_partner").Scan(&n))
	return n
}

// connect connects as the superuser; "" is the server's own database.
func (o *Odoo) connect(t *testing.T, database string) *pgx.Conn {
	t.Helper()
	u := *o.super
	if database != "" {
		u.Path = "/" + database
	}
	conn, err := pgx.Connect(t.Context(), u.String())
	require.NoError(t, err)
	return conn
}

// Session opens one of the owner's in the database, as Odoo has them. Who opens it closes it, if nobody else does.
func (o *Odoo) Session(t *testing.T) *pgx.Conn {
	t.Helper()
	u := *o.super
	u.User, u.Path = url.UserPassword(o.Name, o.Password.Reveal()), "/"+o.Name
	conn, err := pgx.Connect(t.Context(), u.String())
	require.NoError(t, err)
	return conn
}

// Exec runs SQL in the database as its owner, arguments as ever.
func (o *Odoo) Exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	conn := o.Session(t)
	defer func() { require.NoError(t, conn.Close(t.Context())) }()
	_, err := conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// Attach adds an attachment's row, and returns what its file is called.
func (o *Odoo) Attach(t *testing.T, content string) string {
	t.Helper()
	name := FileName(content)
	o.Exec(t, "INSERT INTO ir_attachment (name, store_fname) VALUES ('a file', $1)", name)
	return name
}

// FileName is what Odoo calls a file of this content.
func FileName(content string) string {
	sum := sha1.Sum([]byte(content)) //nolint:gosec // as Odoo does
	name := hex.EncodeToString(sum[:])
	return name[:2] + "/" + name
}

// Image is that of the server's own version, as make builds them.
func (o *Odoo) Image() string { return Image(o.Major) }

// Image returns the image of a PostgreSQL version.
func Image(major string) string {
	variable := "POSTGRES" + major + "_IMAGE"
	if major == "17" {
		variable = "POSTGRES_IMAGE"
	}
	if image := os.Getenv(variable); image != "" { //nolint:forbidigo // tests have no config package
		return image
	}
	return "odoo-hosting/postgres:" + major
}

// Server is the test server as backups see it, with the programs of an image.
func (o *Odoo) Server(t *testing.T, tools pgtools.Tools, image string) *pgtools.Server {
	t.Helper()
	s, err := pgtools.New(pgtools.Options{Host: o.host, Port: o.port, SSLMode: "disable", Image: image, Tools: tools})
	require.NoError(t, err)
	return s
}

// Access is how the database is reached.
func (o *Odoo) Access() backup.Access {
	return backup.Access{TenantID: 42, Database: o.Name, Role: o.Name, Password: o.Password, Tool: o.Name + "_tool"}
}

// Engine is the Docker engine, for an installation of the test's own whose objects go with it.
func Engine(t *testing.T) *docker.Runtime {
	t.Helper()
	r, err := docker.New(docker.Options{Installation: "test-" + secrets.RandomHex(5), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	require.NoError(t, r.Ping(t.Context()), "these tests need a Docker engine")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		objects, err := r.Objects(ctx)
		require.NoError(t, err)
		for _, object := range objects {
			if object.Kind == "container" {
				require.NoError(t, r.RemoveContainer(ctx, object.Name))
			} else {
				require.NoError(t, r.RemoveVolume(ctx, object.Name))
			}
		}
		require.NoError(t, r.Close())
	})
	return r
}
