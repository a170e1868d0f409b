package provision_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"

	"controlplane/internal/accounts"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/provision/docker"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// TestARealOdoo provisions two tenants on a real engine and a real database server, from the template on, and removes them.
func TestARealOdoo(t *testing.T) {
	t.Parallel()
	b, cluster := setupReal(t)
	_, err := b.pool.Exec(t.Context(), "UPDATE plans SET active = id = 'basic'")
	require.NoError(t, err, "one template is enough")
	b.start(t)
	one, two := b.paid(t, "one-"+secrets.RandomHex(2), "basic"), b.paid(t, "two-"+secrets.RandomHex(2), "basic")
	b.enqueue(t, one.ID)
	b.await(t, one.ID, 10*time.Minute)
	began := time.Now()
	b.enqueue(t, two.ID)
	b.await(t, two.ID, time.Minute)
	t.Logf("provisioned in %s\n%s", time.Since(began).Round(time.Millisecond), b.events(t, two.ID.Subject()))

	identities := map[string]bool{}
	for _, tenant := range []tenants.Tenant{one, two} {
		tenant, err := b.tenants.ByID(t.Context(), tenant.ID)
		require.NoError(t, err)
		credentials, err := b.tenants.Credentials(t.Context(), owner(tenant), netip.MustParseAddr("192.0.2.7"), tenant.Name)
		require.NoError(t, err)
		require.True(t, authenticate(t, tenant, credentials.Login, credentials.Password.Reveal()))
		require.False(t, authenticate(t, tenant, "admin", "admin"))
		known, err := b.tenants.Secrets(t.Context(), tenant.ID)
		require.NoError(t, err)
		for _, id := range cluster.parameters(t, tenant.DBName, known.DBPassword) {
			require.False(t, identities[id], "two Odoos share %s", id)
			identities[id] = true
		}
	}
	one, err = b.tenants.ByID(t.Context(), one.ID)
	require.NoError(t, err)
	require.NoError(t, provision.Resetter{Pool: b.pool, Ops: b.ops}.ResetAdminPassword(t.Context(), one))
	fresh, err := b.tenants.Credentials(t.Context(), owner(one), netip.MustParseAddr("192.0.2.7"), one.Name)
	require.NoError(t, err)
	require.True(t, authenticate(t, one, fresh.Login, fresh.Password.Reveal()))
	b.moveLinks(t, one, fresh)
	b.suspendAndResume(t, one)
	b.destroy(t, one)
}

// suspendAndResume stops the tenant's Odoo and starts it again, with all that was in it.
func (b *bundle) suspendAndResume(t *testing.T, tenant tenants.Tenant) {
	t.Helper()
	ip := netip.MustParseAddr("192.0.2.7")
	_, err := b.tenants.Suspend(t.Context(), owner(tenant), ip, tenant.Name, "")
	require.NoError(t, err)
	b.awaitState(t, tenant.ID, tenants.Suspended)
	dialer := net.Dialer{Timeout: time.Second}
	_, err = dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("%s:%d", tenant.Address, tenant.HTTPPort))
	require.Error(t, err)
	began := time.Now()
	_, err = b.tenants.Resume(t.Context(), owner(tenant), ip, tenant.Name)
	require.NoError(t, err)
	b.awaitState(t, tenant.ID, tenants.Active)
	t.Logf("resumed in %s\n%s", time.Since(began).Round(time.Millisecond), b.events(t, tenant.ID.Subject()))
	require.False(t, authenticate(t, tenant, "admin", "admin"), "it answers")
}

func (b *bundle) destroy(t *testing.T, tenant tenants.Tenant) {
	t.Helper()
	_, err := b.tenants.Delete(t.Context(), accounts.Principal{Admin: true, Username: "admin"}, netip.MustParseAddr("192.0.2.7"), tenant.Name,
		tenants.DeleteInput{Reason: "the test is over"})
	require.NoError(t, err)
	b.awaitState(t, tenant.ID, tenants.Deleted)
}

func (b *bundle) awaitState(t *testing.T, id tenants.ID, want tenants.State) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		tenant, err := b.tenants.ByID(t.Context(), id)
		require.NoError(t, err)
		if tenant.State == want {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s, not %s\n%s", tenant.State, want, b.events(t, id.Subject()))
	}
}

// await waits for the tenant to become active, and tells the operation's story when it doesn't.
func (b *bundle) await(t *testing.T, id tenants.ID, limit time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		op, err := b.ops.Latest(t.Context(), id.Subject())
		return err == nil && (op.State == ops.Done || op.State == ops.Held)
	}, limit, 10*time.Millisecond, "the operation doesn't end")
	tenant, err := b.tenants.ByID(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, tenants.Active, tenant.State, b.events(t, id.Subject()))
}

// moveLinks gives the tenant a primary domain and takes it away again, while its Odoo runs and remembers what its links begin with.
func (b *bundle) moveLinks(t *testing.T, tenant tenants.Tenant, c tenants.Credentials) {
	t.Helper()
	s := &scene{bundle: b, tenant: tenant}
	s.prove(t, "erp.example.com")
	for _, domain := range []string{"erp.example.com", ""} {
		want := b.options.TenantURL(cmp.Or(domain, tenant.Domain))
		require.NotEqual(t, want, logIn(t, tenant, c.Login, c.Password.Reveal()).BaseURL)
		s.choose(t, domain)
		require.Eventually(t, func() bool { return logIn(t, tenant, c.Login, c.Password.Reveal()).BaseURL == want }, 30*time.Second, 200*time.Millisecond, want)
	}
}

func authenticate(t *testing.T, tenant tenants.Tenant, login, password string) bool {
	t.Helper()
	return logIn(t, tenant, login, password).UID != 0
}

// session is what Odoo's pages know after a log-in.
type session struct {
	UID     int    `json:"uid"`
	BaseURL string `json:"web.base.url"`
}

func logIn(t *testing.T, tenant tenants.Tenant, login, password string) session {
	t.Helper()
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "params": map[string]string{"db": tenant.DBName, "login": login, "password": password}})
	require.NoError(t, err)
	url := fmt.Sprintf("http://%s:%d/web/session/authenticate", tenant.Address, tenant.HTTPPort)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	var answer struct {
		Result session `json:"result"`
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer.Result
}

// realCluster is a PostgreSQL server on the host's network, as tenants reach it at their gateway.
type realCluster struct{ port int }

func (c realCluster) parameters(t *testing.T, database string, password secrets.Secret) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", database, password.Reveal(), c.port, database))
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), "SELECT value FROM ir_config_parameter WHERE key IN ('database.uuid', 'database.secret')")
	require.NoError(t, err)
	values, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, values, 2)
	return values
}

func setupReal(t *testing.T) (*bundle, realCluster) {
	t.Helper()
	supernet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 215, byte(mathrand.IntN(256)), 0}), 24) //nolint:gosec // a number of no importance
	c := startRealCluster(t, supernet)
	control := secrets.RandomPassword(20)
	require.NoError(t, pgcluster.SetupServer(t.Context(), secrets.Secret(fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)),
		pgcluster.SetupParams{ControlRole: "odoo_clients", ControlPassword: control}))
	var runtime *docker.Runtime
	var database *pgcluster.Cluster
	b := newBundle(t, unset{}, newWorld(), provision.Options{
		Installation: "unused", Image: "unused", Supernet: supernet, DatabaseHost: "127.0.0.1",
	})
	id, err := postgres.InstallationID(t.Context(), b.pool)
	require.NoError(t, err)
	runtime, err = docker.New(docker.Options{Installation: id, Binary: controlplane(t), Log: b.log})
	require.NoError(t, err)
	database, err = pgcluster.New(t.Context(), pgcluster.Options{
		Host: "127.0.0.1", Port: c.port, User: "odoo_clients", Password: control, SSLMode: "disable", Installation: id, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	t.Cleanup(database.Close)
	b.options.Installation, b.options.Image, b.options.DatabasePort, b.options.SSLMode = id, image("ODOO_IMAGE", "odoo-hosting/odoo:19.0"), c.port, "disable"
	b.Service = b.service(t, b.ops, runtime, database)
	t.Cleanup(func() { removeAll(t, runtime) })
	return b, c
}

// unset stands for a Runtime until there is an installation id to make one with.
type unset struct{ provision.Runtime }

func image(variable, fallback string) string {
	if found := os.Getenv(variable); found != "" { //nolint:forbidigo // tests have no config package
		return found
	}
	return fallback
}

// controlplane is the binary that the firewall's container is made of.
func controlplane(t *testing.T) string {
	t.Helper()
	if found := os.Getenv("CONTROLPLANE_BIN"); found != "" { //nolint:forbidigo // tests have no config package
		return found
	}
	binary := filepath.Join(t.TempDir(), "controlplane")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "controlplane/cmd/controlplane")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return binary
}

func startRealCluster(t *testing.T, supernet netip.Prefix) realCluster {
	t.Helper()
	c := realCluster{port: freePort(t)}
	container, err := testcontainers.Run(t.Context(), image("POSTGRES_IMAGE", "odoo-hosting/postgres:17"),
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": "postgres"}),
		testcontainers.WithHostConfigModifier(hostNetwork),
		testcontainers.WithFiles(testcontainers.ContainerFile{
			Reader: bytes.NewReader([]byte(pgcluster.HBA(supernet, "odoo_clients"))), ContainerFilePath: "/etc/postgresql-hba.conf", FileMode: 0o644,
		}),
		testcontainers.WithCmd("postgres", "-c", "port="+strconv.Itoa(c.port), "-c", "hba_file=/etc/postgresql-hba.conf", "-c", "max_connections=200"),
	)
	testcontainers.CleanupContainer(t, container)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres:postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port))
		if err != nil {
			return false
		}
		return conn.Close(t.Context()) == nil
	}, time.Minute, 100*time.Millisecond, "the database server doesn't start")
	return c
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}

// removeAll removes everything that bears the test's installation id.
func removeAll(t *testing.T, r *docker.Runtime) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := r.RemoveFirewall(ctx); err != nil {
		t.Logf("remove the firewall: %v", err)
	}
	objects, err := r.Objects(ctx)
	if err != nil {
		t.Logf("list what is left: %v", err)
	}
	remove := map[string]func(context.Context, string) error{"container": r.RemoveContainer, "network": r.RemoveNetwork, "volume": r.RemoveVolume}
	for _, o := range objects { // in the order to remove them in
		if err := remove[o.Kind](ctx, o.Name); err != nil {
			t.Logf("remove %s %s: %v", o.Kind, o.Name, err)
		}
	}
}
