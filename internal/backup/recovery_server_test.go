package backup_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"
	"github.com/testcontainers/testcontainers-go"
	tcexec "github.com/testcontainers/testcontainers-go/exec"

	pgsetup "controlplane/deploy/postgres"
	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
)

const (
	controlRole     = "odoo_clients"
	controlPassword = secrets.Secret("the control role's, in a drill")
)

// host is a server of tenants' databases as an operator sets one up: by the two files in deploy/postgres, and nothing else.
type host struct {
	testcontainers.Container

	p    *plant
	port int
}

// serve starts one on the port, and has the plant work on it.
func (p *plant) serve(port int, installation string) *host {
	p.Helper()
	began := time.Now()
	c, err := testcontainers.Run(p.Context(), p.odoo.Image(), testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": secrets.RandomHex(8)}),
		testcontainers.WithHostConfigModifier(func(c *container.HostConfig) { c.NetworkMode = "host" }),
		testcontainers.WithFiles(
			testcontainers.ContainerFile{Reader: strings.NewReader(pgsetup.HBA), ContainerFilePath: "/etc/sample.conf", FileMode: 0o644},
			testcontainers.ContainerFile{Reader: strings.NewReader(pgsetup.SuperuserSQL), ContainerFilePath: "/etc/superuser.sql", FileMode: 0o644}),
		testcontainers.WithCmd("postgres", "-c", fmt.Sprintf("port=%d", port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", "hba_file=/etc/sample.conf"))
	testcontainers.CleanupContainer(p.T, c)
	require.NoError(p, err)
	h := &host{Container: c, p: p, port: port}
	require.Eventually(p, func() bool { // its first start makes the cluster, and listens to nobody else
		conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
		return err == nil && conn.Close() == nil
	}, time.Minute, 50*time.Millisecond)
	code, out, err := c.Exec(p.Context(), []string{
		"psql", "-X", "-p", fmt.Sprint(port), "-d", "postgres", "-v", "ON_ERROR_STOP=1",
		"-c", "SET odoohost.control_password = '" + strings.ReplaceAll(controlPassword.Reveal(), "'", "''") + "'", "-f", "/etc/superuser.sql",
	}, tcexec.WithUser("postgres"), tcexec.Multiplexed())
	require.NoError(p, err)
	text, err := io.ReadAll(out)
	require.NoError(p, err)
	require.Zero(p, code, string(text))

	cluster, err := pgcluster.New(p.Context(), pgcluster.Options{
		Host: "127.0.0.1", Port: port, User: controlRole, Password: controlPassword, SSLMode: "disable", Installation: installation, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(p, err)
	p.Cleanup(cluster.Close)
	p.cluster = cluster
	p.database, err = pgtools.New(pgtools.Options{Host: "127.0.0.1", Port: port, SSLMode: "disable", Image: p.odoo.Image(), Tools: p.engine})
	require.NoError(p, err)
	p.Logf("a server took %v", time.Since(began).Round(time.Millisecond))
	return h
}

// url is how a role reaches one of its databases.
func (h *host) url(role string, password secrets.Secret, database string) string {
	return fmt.Sprintf("host=127.0.0.1 port=%d user=%s password='%s' dbname=%s sslmode=disable", h.port, role, strings.ReplaceAll(password.Reveal(), "'", `\'`), database)
}

// exec runs statements, each by itself.
func (h *host) exec(role string, password secrets.Secret, database string, statements ...string) {
	h.p.Helper()
	conn, err := pgx.Connect(h.p.Context(), h.url(role, password, database))
	require.NoError(h.p, err)
	defer func() { require.NoError(h.p, conn.Close(h.p.Context())) }()
	for _, sql := range statements {
		_, err := conn.Exec(h.p.Context(), sql)
		require.NoError(h.p, err, sql)
	}
}

func (h *host) partners(role string, password secrets.Secret) (n int) {
	h.p.Helper()
	conn, err := pgx.Connect(h.p.Context(), h.url(role, password, role))
	require.NoError(h.p, err)
	defer func() { require.NoError(h.p, conn.Close(h.p.Context())) }()
	require.NoError(h.p, conn.QueryRow(h.p.Context(), "SELECT count(*) FROM res_partner").Scan(&n))
	return n
}

// rebuild does as docs/recovery.md says, with what was fetched into dir.
func (h *host) rebuild(dir, installation string, password secrets.Secret) {
	h.p.Helper()
	names := []string{"odoo_acme", h.p.tenant.DBName, "INSTALLATION", installation, "tenant/42", h.p.tenant.ID.Subject(), "…", password.Reveal(), "/root/acme", dir}
	sql := backuptest.Drill(h.p.T, "The tenants' database server", "sql", names...)
	h.exec(controlRole, controlPassword, "postgres", strings.Split(strings.TrimSuffix(strings.TrimSpace(sql), ";"), ";")...)

	command := strings.Fields(backuptest.Drill(h.p.T, "The tenants' database server", "sh", names...))
	require.Equal(h.p, "pg_restore", command[0])
	dump := filepath.Join(dir, "database.dump")
	require.Equal(h.p, dump, command[len(command)-1])
	require.NoError(h.p, h.CopyFileToContainer(h.p.Context(), dump, dump, 0o644))
	environment := []string{"env", "PGHOST=127.0.0.1", fmt.Sprintf("PGPORT=%d", h.port), "PGUSER=" + controlRole, "PGPASSWORD=" + controlPassword.Reveal()}
	code, out, err := h.Exec(h.p.Context(), append(environment, command...), tcexec.Multiplexed())
	require.NoError(h.p, err)
	text, err := io.ReadAll(out)
	require.NoError(h.p, err)
	require.Zero(h.p, code, string(text))
}

// The server is lost with all that is on it. A new one is set up, and each client gets its newest backup: of an hourly plan that is the hour's.
func TestRecovery_OfTheTenantsDatabaseServer(t *testing.T) {
	t.Parallel()
	p := build(t)
	port, installation := quietPort(t), secrets.RandomHex(6)
	known, err := p.tenants.Secrets(t.Context(), p.tenant.ID)
	require.NoError(t, err)
	role, password := p.tenant.DBName, known.DBPassword

	before := p.serve(port, installation)
	cluster, ok := p.cluster.(*pgcluster.Cluster)
	require.True(t, ok)
	require.NoError(t, cluster.BeginSandbox(t.Context(), role, p.tenant.ID.Subject(), password), "a tenant's role and database")
	before.exec(role, password, role, backuptest.Content, "INSERT INTO ir_attachment (store_fname) VALUES ('"+backuptest.FileName(logo)+"')")
	engine := p.start()
	p.took(engine, backup.Daily, ops.Done)
	before.exec(role, password, role, "INSERT INTO res_partner (name) VALUES ('came within the hour')")
	hourly := p.took(engine, backup.Hourly, ops.Done)
	before.exec(role, password, role, "INSERT INTO res_partner (name) VALUES ('is lost')")
	opstest.Stop(t, engine)
	require.NoError(t, before.Terminate(t.Context()), "with its data")
	lost := time.Now()
	p.requireFailed(p.givenUp(backup.Daily), backup.ErrDatabaseUnreachable.Message, "EXTERNAL_DB_HOST")

	after := p.serve(port, installation)
	keys, err := archive.NewKeys(backupKey)
	require.NoError(t, err)
	vault := backup.NewVault(p.store, keys, "clients/")
	list, err := vault.List(t.Context(), p.tenant.Name)
	require.NoError(t, err)
	require.Equal(t, hourly.KeyPrefix, "clients/"+list[0].Name+"/", "the newest, whatever its kind")
	dir := filepath.Join(t.TempDir(), "acme")
	m, err := vault.Fetch(t.Context(), list[0].Name, dir)
	require.NoError(t, err)
	after.rebuild(dir, installation, password)
	t.Logf("the client's database is there after %v, %v older than the loss", time.Since(lost).Round(time.Millisecond), lost.Sub(m.TakenAt).Round(time.Millisecond))

	require.Equal(t, 1001, after.partners(role, password))
	after.exec(role, password, "postgres", "LISTEN cron_trigger") // as Odoo does
	there, err := p.cluster.HasTenant(t.Context(), role, p.tenant.ID.Subject())
	require.NoError(t, err)
	require.True(t, there, "the platform knows it as the client's")
	engine = p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	require.True(t, b.Good(), "with its files")
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{})
	require.NoError(t, err)
	opstest.Wait(t, engine, op.ID, ops.Done)
	require.Equal(t, 1001, after.partners(role, password))
	p.unharmedBut(1)
}

// quietPort is one that nobody listens at, and that no connection gets while nobody does: both servers use it, one after the other.
func quietPort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // closed at once
		if err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
	require.Fail(t, "no port is free")
	return 0
}

// unharmedBut is for a client whose Odoo was started anew so often.
func (p *plant) unharmedBut(starts int64) {
	p.Helper()
	require.Equal(p, starts, p.runner.starts.Load())
	p.runner.starts.Store(0)
	p.unharmed()
}

func TestMain(m *testing.M) {
	// The reaper is an image of its own that no registry need be at hand for: tests remove what they start.
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	os.Exit(m.Run())
}
