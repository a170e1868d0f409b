package pgcluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"controlplane/internal/provision"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
)

const controlRole = "odoo_clients"

// server is a PostgreSQL of one version that all tests of it share; each test is an installation of its own.
type server struct {
	superuser string // URL
	host      string
	port      int
	password  secrets.Secret
	container testcontainers.Container
	err       error
}

var servers = map[string]func() *server{ //nolint:gochecknoglobals // one server per version for the whole test binary
	"15": sync.OnceValue(func() *server { return startServer("POSTGRES15_IMAGE", "odoo-hosting/postgres:15") }),
	"17": sync.OnceValue(func() *server { return startServer("POSTGRES_IMAGE", "odoo-hosting/postgres:17") }),
	"18": sync.OnceValue(func() *server { return startServer("POSTGRES18_IMAGE", "odoo-hosting/postgres:18") }),
}

func TestMain(m *testing.M) {
	// The reaper is an image of its own that no registry need be at hand for: the containers are removed below.
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	_ = os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	code := m.Run()
	for _, start := range servers {
		if s := start(); s.container != nil {
			_ = s.container.Terminate(context.Background())
		}
	}
	os.Exit(code)
}

func startServer(variable, fallback string) *server {
	image := os.Getenv(variable) //nolint:forbidigo // tests have no config package
	if image == "" {
		image = fallback
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	s := &server{password: "control-" + secrets.RandomPassword(12)}
	s.container, s.err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		Started: true,
		ContainerRequest: testcontainers.ContainerRequest{
			Image: image, ExposedPorts: []string{"5432/tcp"}, Env: map[string]string{"POSTGRES_PASSWORD": "postgres"},
			Cmd:        []string{"postgres", "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"},
			WaitingFor: wait.ForLog("database system is ready to accept connections").WithOccurrence(2).WithStartupTimeout(time.Minute),
		},
	})
	if s.err != nil {
		return s
	}
	endpoint, err := s.container.PortEndpoint(ctx, "5432/tcp", "postgres")
	if err != nil {
		s.err = err
		return s
	}
	u, _ := url.Parse(endpoint)
	s.host = u.Hostname()
	s.port, _ = strconv.Atoi(u.Port())
	s.superuser = fmt.Sprintf("postgres://postgres:postgres@%s/postgres?sslmode=disable", u.Host)
	for range 2 { // the second must change nothing
		if s.err = pgcluster.SetupServer(ctx, secrets.Secret(s.superuser), pgcluster.SetupParams{ControlRole: controlRole, ControlPassword: s.password}); s.err != nil {
			return s
		}
	}
	return s
}

// onEachVersion runs a test on every PostgreSQL that Debian serves.
func onEachVersion(t *testing.T, test func(t *testing.T, b *bundle)) {
	t.Helper()
	for version, start := range servers {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := start()
			require.NoError(t, s.err, "a PostgreSQL %s server for tests", version)
			test(t, setup(t, s))
		})
	}
}

// bundle is one installation on a server.
type bundle struct {
	*pgcluster.Cluster
	server       *server
	installation string
	template     string // sealed, a database that looks like an Odoo to HandOver
	super        *pgx.Conn
}

func setup(t *testing.T, s *server) *bundle {
	t.Helper()
	b := &bundle{server: s, installation: secrets.RandomHex(6)}
	b.Cluster = newCluster(t, s, b.installation)
	b.template = "odootmpl_" + b.installation + "_1"
	var err error
	b.super, err = pgx.Connect(t.Context(), s.superuser)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.super.Close(context.Background()) })
	b.makeTemplate(t, b.template)
	return b
}

func newCluster(t *testing.T, s *server, installation string) *pgcluster.Cluster {
	t.Helper()
	c, err := pgcluster.New(t.Context(), pgcluster.Options{
		Host: s.host, Port: s.port, User: controlRole, Password: s.password, Database: "template1", SSLMode: "disable",
		Installation: installation, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// odooSchema is as much of Odoo's schema as HandOver touches.
const odooSchema = `
	CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key varchar NOT NULL UNIQUE, value text NOT NULL,
		create_uid int, write_uid int, create_date timestamp, write_date timestamp);
	CREATE TABLE ir_model_data (module varchar, name varchar, model varchar, res_id int);
	CREATE TABLE res_partner (id int PRIMARY KEY, name varchar, complete_name varchar, commercial_company_name varchar, email varchar,
		email_normalized varchar);
	CREATE TABLE res_company (id int PRIMARY KEY, name varchar, partner_id int);
	CREATE TABLE res_users (id int PRIMARY KEY, login varchar UNIQUE, password varchar, partner_id int, company_id int, active bool,
		write_date timestamp);
	CREATE TABLE discuss_channel (id int PRIMARY KEY, uuid varchar);
	CREATE TABLE ir_cron (id int PRIMARY KEY, nextcall timestamp);
	CREATE FUNCTION greet() RETURNS text LANGUAGE sql AS $$SELECT 'hello'$$;
	INSERT INTO ir_config_parameter (key, value) VALUES ('database.uuid', 'template'), ('database.secret', 'template'), ('kept', 'as it is');
	INSERT INTO ir_model_data VALUES ('base', 'user_admin', 'res.users', 2);
	INSERT INTO res_partner (id, name) VALUES (1, 'My Company'), (3, 'Administrator');
	INSERT INTO res_company VALUES (1, 'My Company', 1);
	INSERT INTO res_users VALUES (2, 'admin', 'admin', 3, 1, true);
	INSERT INTO discuss_channel VALUES (1, 'template');
	INSERT INTO ir_cron VALUES (1, '2020-01-01'), (2, '2100-01-01')`

func (b *bundle) makeTemplate(t *testing.T, name string) {
	t.Helper()
	password := secrets.RandomPassword(20)
	require.NoError(t, b.BeginTemplate(t.Context(), name, password))
	t.Cleanup(func() { _ = b.RemoveTemplate(context.Background(), name) })
	builder := b.login(t, name, password, name)
	_, err := builder.Exec(t.Context(), odooSchema)
	require.NoError(t, err)
	require.NoError(t, b.SealTemplate(t.Context(), name), "the builder is still connected")
}

// tenant describes a tenant of this installation; it goes when the test ends.
func (b *bundle) tenant(t *testing.T, subject string) provision.TenantDatabase {
	t.Helper()
	tenant := provision.TenantDatabase{
		Name: "odoo_" + secrets.RandomHex(5), Subject: subject, Template: b.template, Password: secrets.RandomPassword(20), ConnectionLimit: 9, TempFilesMB: 1,
	}
	t.Cleanup(func() { _ = b.RemoveTenant(context.Background(), tenant.Name, tenant.Subject) })
	return tenant
}

func (b *bundle) provisioned(t *testing.T, subject string) provision.TenantDatabase {
	t.Helper()
	tenant := b.tenant(t, subject)
	require.NoError(t, b.EnsureTenant(t.Context(), tenant))
	require.NoError(t, b.HandOver(t.Context(), tenant.Name, identity()))
	return tenant
}

func identity() provision.Identity {
	return provision.Identity{
		Login: "Owner@example.com", PasswordHash: "$pbkdf2-sha512$hash", BaseURL: "https://acme.example.com", CompanyName: "acme",
	}
}

func (b *bundle) try(ctx context.Context, user string, password secrets.Secret, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable",
		b.server.host, b.server.port, user, password.Reveal(), database))
}

func (b *bundle) login(t *testing.T, user string, password secrets.Secret, database string) *pgx.Conn {
	t.Helper()
	conn, err := b.try(t.Context(), user, password, database)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func value[T any](t *testing.T, conn *pgx.Conn, sql string, args ...any) T {
	t.Helper()
	var v T
	require.NoError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&v))
	return v
}
