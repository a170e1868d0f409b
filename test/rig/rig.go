// Package rig takes the platform apart: each of its processes is started, stopped and killed by itself, and proxies (test/wire) stand
// between them and what they work with. Odoo is played by test/standin unless the real one is asked for.
package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/joho/godotenv"

	"controlplane/internal/provision/docker"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
	"controlplane/test/wire"
)

const (
	ownerLabel   = "odoo-hosting.test-owner"
	dirPrefix    = "odoo-hosting-rig-"
	engineSocket = "unix:///var/run/docker.sock"
	pgData       = "/var/lib/postgresql/data"

	databaseTimeout = time.Minute
	processTimeout  = time.Minute
	// SettleTimeout is what everything has to be back within after a restart: the promise that is proved here.
	SettleTimeout = 30 * time.Second
)

// Options tell a rig apart from the usual.
type Options struct {
	RealOdoo bool              // instead of the stand-in
	Env      map[string]string // more settings
}

// Rig is a platform in its parts.
type Rig struct {
	dir, binary, image string
	env                map[string]string // of all processes
	clusterURL         string            // the superuser's, straight to the server
	databases          []string          // names of the two containers

	API, Edge, Gateway, GatewayAdmin string // base URLs
	Pool                             *pgxpool.Pool
	Installation                     string

	Engine   *wire.HTTP
	Platform *wire.Postgres
	Tenants  *wire.Postgres

	processes []*Process
	gateway   *Process
}

// New starts the two databases, the proxies, the edge and the gateway; serve is the test's to start.
func New(ctx context.Context, o Options) (*Rig, error) {
	r := &Rig{}
	err := r.prepare(ctx, o)
	if err == nil {
		removeLeftovers(ctx, r.binary)
		err = r.startDatabases(ctx)
	}
	if err == nil {
		err = r.startProxies()
	}
	if err == nil {
		err = r.startBystanders(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, nil
}

func (r *Rig) prepare(ctx context.Context, o Options) error {
	var err error
	if r.dir, err = os.MkdirTemp("", dirPrefix); err != nil {
		return err
	}
	if r.binary, err = program(ctx, r.dir); err != nil {
		return err
	}
	odoo, postgres, err := images(ctx, o.RealOdoo)
	if err != nil {
		return err
	}
	r.image = postgres
	ports, err := freePorts(7)
	if err != nil {
		return err
	}
	local := func(i int) string { return "127.0.0.1:" + strconv.Itoa(ports[i]) }
	r.API, r.Edge, r.Gateway, r.GatewayAdmin = "http://"+local(0), "http://"+local(1), "http://"+local(2), "http://"+local(3)
	r.env = map[string]string{
		"DEBUG": "true", "BASE_DOMAIN": "localhost", "LOG_LEVEL": "debug", "TRUSTED_PROXIES": "127.0.0.1/32",
		"API_LISTEN": local(0), "API_PUBLIC_URL": r.API,
		"EDGE_LISTEN": ":" + strconv.Itoa(ports[1]), "EDGE_PUBLIC_URL": "http://localhost:" + strconv.Itoa(ports[1]), "EDGE_STATE_FILE": r.dir + "/edge.json",
		"PAYSTACK_BASE_URL": r.Gateway, "PAYSTACK_SECRET_KEY": "sk_test_" + secrets.RandomHex(20),
		"SECRET_KEY": secrets.RandomHex(32), "DATA_KEY": secrets.RandomHex(32), "ADMIN_CLEANUP_TOKEN": secrets.RandomHex(16),
		"ACCESS_TOKEN_EXPIRE_MINUTES": "1440", // a proof takes longer than half an hour
		"EXTERNAL_DB_HOST":            "127.0.0.1", "EXTERNAL_DB_PORT": strconv.Itoa(ports[4]), "EXTERNAL_DB_USER": "odoo_clients",
		"EXTERNAL_DB_PASSWORD": secrets.RandomHex(16), "EXTERNAL_DB_SSLMODE": "disable",
		"TENANT_SUPERNET": supernet().String(), "ODOO_IMAGE": odoo, "POSTGRES_IMAGE": postgres, "DOCKER_SOCKET_PATH": "unix://" + r.dir + "/engine.sock",
		"RIG_PLATFORM_PORT": strconv.Itoa(ports[5]), "RIG_CLUSTER_PORT": strconv.Itoa(ports[6]),
		// Stand-ins take nothing of what is promised for them.
		"CAPACITY_MEMORY_OVERCOMMIT": "1000", "CAPACITY_CPU_OVERCOMMIT": "1000", "CAPACITY_DISK_OVERCOMMIT": "1000", "CAPACITY_CONNECTIONS_OVERCOMMIT": "1000",
	}
	maps.Copy(r.env, o.Env)
	return nil
}

func (r *Rig) startDatabases(ctx context.Context) error {
	password, supernetwork := secrets.RandomHex(16), netip.MustParsePrefix(r.env["TENANT_SUPERNET"])
	for name, content := range map[string]string{"password": password, "pg_hba.conf": pgcluster.HBA(supernetwork, r.env["EXTERNAL_DB_USER"])} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(content), 0o644); err != nil { //nolint:gosec // another user's process reads it in the container
			return err
		}
	}
	if err := os.Chmod(r.dir, 0o755); err != nil { //nolint:gosec // the same
		return err
	}
	for role, port := range map[string]string{"platform": r.env["RIG_PLATFORM_PORT"], "tenants": r.env["RIG_CLUSTER_PORT"]} {
		name := filepath.Base(r.dir) + "-" + role
		args := []string{
			"run", "-d", "--name", name, "--label", ownerLabel + "=" + strconv.Itoa(os.Getpid()), "--network", "host", "--shm-size", "256m",
			"--volume", r.dir + "/password:/run/secrets/password:ro", "--volume", r.dir + "/pg_hba.conf:/etc/postgresql-hba.conf:ro",
			"--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password", "--env", "PGDATA=" + pgData, r.image,
			"-c", "port=" + port, "-c", "listen_addresses=127.0.0.1", "-c", "hba_file=/etc/postgresql-hba.conf", "-c", "max_connections=1200",
			"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_wal_size=4GB",
		}
		if _, err := Docker(ctx, args...); err != nil {
			return err
		}
		r.databases = append(r.databases, name)
	}
	slices.Sort(r.databases)
	r.clusterURL = "postgres://postgres:" + password + "@127.0.0.1:" + r.env["RIG_CLUSTER_PORT"] + "/postgres?sslmode=disable"
	platform := "postgres://postgres:" + password + "@127.0.0.1:" + r.env["RIG_PLATFORM_PORT"] + "/"
	if err := execWhenUp(ctx, platform+"postgres?sslmode=disable", "CREATE DATABASE platform"); err != nil {
		return err
	}
	if err := execWhenUp(ctx, r.clusterURL, "SELECT"); err != nil {
		return err
	}
	err := pgcluster.SetupServer(ctx, secrets.Secret(r.clusterURL), pgcluster.SetupParams{
		ControlRole: r.env["EXTERNAL_DB_USER"], ControlPassword: secrets.Secret(r.env["EXTERNAL_DB_PASSWORD"]),
	})
	if err != nil {
		return err
	}
	// The schema's owner migrates; what runs is a lesser role.
	lesser := secrets.RandomHex(16)
	if err := execWhenUp(ctx, platform+"postgres?sslmode=disable", "CREATE ROLE platform_app LOGIN PASSWORD '"+lesser+"'"); err != nil {
		return err
	}
	r.env["MIGRATE_DATABASE_URL"] = platform + "platform?sslmode=disable"
	r.env["DATABASE_URL"] = strings.Replace(r.env["MIGRATE_DATABASE_URL"], "postgres:"+password, "platform_app:"+lesser, 1)
	r.Pool, err = pgxpool.New(ctx, r.env["MIGRATE_DATABASE_URL"])
	return err
}

// execWhenUp runs a statement as soon as the server takes connections over TCP.
func execWhenUp(ctx context.Context, url, sql string) error {
	var failed error
	err := Eventually(ctx, databaseTimeout, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, failed = conn.Exec(ctx, sql)
		return nil
	})
	return errors.Join(err, failed)
}

func (r *Rig) startProxies() error {
	ports, err := freePorts(1)
	if err != nil {
		return err
	}
	platform := "127.0.0.1:" + strconv.Itoa(ports[0])
	r.Engine = wire.NewEngine(r.dir+"/engine.sock", strings.TrimPrefix(engineSocket, "unix://"))
	r.Platform = wire.NewPostgres("platform", platform, "127.0.0.1:"+r.env["RIG_PLATFORM_PORT"])
	r.Tenants = wire.NewPostgres("tenants", ":"+r.env["EXTERNAL_DB_PORT"], "127.0.0.1:"+r.env["RIG_CLUSTER_PORT"])
	for _, up := range []func() error{r.Engine.Up, r.Platform.Up, r.Tenants.Up} {
		if err := up(); err != nil {
			return err
		}
	}
	r.env["DATABASE_URL"] = strings.Replace(r.env["DATABASE_URL"], "127.0.0.1:"+r.env["RIG_PLATFORM_PORT"], platform, 1)
	return nil
}

// startBystanders starts what isn't killed: the edge and the gateway.
func (r *Rig) startBystanders(ctx context.Context) error {
	if out, err := r.Command(ctx, "migrate").CombinedOutput(); err != nil {
		return fmt.Errorf("migrate: %w\n%s", err, out)
	}
	if err := r.Pool.QueryRow(ctx, "SELECT id FROM installation").Scan(&r.Installation); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.dir, "installation"), []byte(r.Installation), 0o600); err != nil {
		return err
	}
	if _, err := r.Start(nil, "edge"); err != nil {
		return err
	}
	return r.StartGateway()
}

// KillGateway kills the local Paystack; StartGateway brings it back.
func (r *Rig) KillGateway() { r.gateway.Kill() }

// StartGateway starts the local Paystack, which keeps its state over a restart.
func (r *Rig) StartGateway() error {
	var err error
	r.gateway, err = r.Start(nil, "paystack-simulator", "--listen", strings.TrimPrefix(r.Gateway, "http://"), "--admin-listen",
		strings.TrimPrefix(r.GatewayAdmin, "http://"), "--webhook-url", r.API+"/api/payments/webhook", "--state-file", r.dir+"/gateway.json")
	return err
}

// Serve starts API and workers at the rig's own address and returns when the API answers.
func (r *Rig) Serve(ctx context.Context) (*Process, error) { return r.ServeAt(ctx, r.API) }

// ServeAt is Serve at another address, for a replica.
func (r *Rig) ServeAt(ctx context.Context, base string) (*Process, error) {
	p, err := r.Start(map[string]string{"API_LISTEN": strings.TrimPrefix(base, "http://")}, "serve")
	if err != nil {
		return nil, err
	}
	return p, Eventually(ctx, processTimeout, func(ctx context.Context) error { return p.check(get(ctx, base+"/api/health")) })
}

// FreeBase returns a base URL for a replica.
func FreeBase() (string, error) {
	ports, err := freePorts(1)
	if err != nil {
		return "", err
	}
	return "http://127.0.0.1:" + strconv.Itoa(ports[0]), nil
}

// Set changes settings of what is started from now on; "" takes one away.
func (r *Rig) Set(settings map[string]string) {
	for name, value := range settings {
		if r.env[name] = value; value == "" {
			delete(r.env, name)
		}
	}
}

// Setting returns one of the settings that the processes run with.
func (r *Rig) Setting(name string) string { return r.env[name] }

// Database returns the name of the container that a server runs in: "platform" or "tenants".
func (r *Rig) Database(role string) string {
	for _, name := range r.databases {
		if strings.HasSuffix(name, "-"+role) {
			return name
		}
	}
	return ""
}

// ClusterURL is the superuser's way to a database of the tenants' server.
func (r *Rig) ClusterURL(database string) string {
	return strings.Replace(r.clusterURL, "/postgres?", "/"+database+"?", 1)
}

// Close stops all processes and removes everything that the rig made, tenants included.
func (r *Rig) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
	defer cancel()
	var errs []error
	for _, p := range slices.Backward(r.processes) {
		p.Kill()
	}
	if r.Pool != nil {
		r.Pool.Close()
	}
	if r.Installation != "" {
		errs = append(errs, removeInstallation(ctx, r.Installation, r.binary))
	}
	for _, name := range r.databases {
		_, err := Docker(ctx, "rm", "-f", "-v", name)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}

// removeInstallation removes the host's firewall rules of an installation, and the engine's objects that bear its id.
func removeInstallation(ctx context.Context, installation, binary string) error {
	filter := "label=com.odoo-cloud.installation=" + installation
	engine, err := docker.New(docker.Options{Host: engineSocket, Installation: installation, Binary: binary, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	errs := []error{engine.RemoveFirewall(ctx)}
	for _, kind := range [][]string{{"container", "-a"}, {"network"}, {"volume"}} {
		out, err := Docker(ctx, append([]string{kind[0], "ls", "-q", "--filter", filter}, kind[1:]...)...)
		if err != nil || out == "" {
			errs = append(errs, err)
			continue
		}
		args := []string{kind[0], "rm"}
		if kind[0] == "container" {
			args = append(args, "-f", "-v")
		}
		_, err = Docker(ctx, append(args, strings.Fields(out)...)...)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// removeLeftovers removes what rigs left behind that were killed: no process has their database's number any more.
func removeLeftovers(ctx context.Context, binary string) {
	out, _ := Docker(ctx, "ps", "-a", "--filter", "label="+ownerLabel, "--format", "{{.ID}} {{.Label \""+ownerLabel+"\"}} {{.Names}}")
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[2], dirPrefix) {
			continue
		}
		if _, err := os.Stat("/proc/" + f[1]); err == nil {
			continue
		}
		dir := filepath.Join(os.TempDir(), f[2][:strings.LastIndex(f[2], "-")])
		if id, err := os.ReadFile(filepath.Join(dir, "installation")); err == nil { //nolint:gosec // a path of our own
			_ = removeInstallation(ctx, string(id), binary)
		}
		_, _ = Docker(ctx, "rm", "-f", "-v", f[0])
		_ = os.RemoveAll(dir)
	}
}

// program is CONTROLPLANE_BIN, or built for a plain "go test".
func program(ctx context.Context, dir string) (string, error) {
	if b := os.Getenv("CONTROLPLANE_BIN"); b != "" { //nolint:forbidigo // the tests' own setting
		return b, nil
	}
	out := filepath.Join(dir, "controlplane")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "controlplane/cmd/controlplane")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") //nolint:forbidigo // go's own settings
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, text)
	}
	return out, nil
}

// images finds Odoo's and PostgreSQL's, from the environment or the checkout's state folder.
func images(ctx context.Context, realOdoo bool) (odoo, postgres string, err error) {
	found, _ := godotenv.Read("../../.state/images.env")
	get := func(name string) (string, error) {
		ref := os.Getenv(name) //nolint:forbidigo // the tests' own setting
		if ref == "" {
			ref = found[name]
		}
		if ref == "" {
			return "", fmt.Errorf("%s isn't set, and scripts/images.sh hasn't run", name)
		}
		return Docker(ctx, "image", "inspect", "--format", "{{.Id}}", ref)
	}
	if postgres, err = get("POSTGRES_IMAGE"); err != nil {
		return "", "", err
	}
	if realOdoo {
		odoo, err = get("ODOO_IMAGE")
	} else {
		odoo, err = StandIn(ctx)
	}
	return odoo, postgres, err
}

// supernet is a random /16 apart from the default and from the other tests'.
func supernet() netip.Prefix {
	var b [1]byte
	_, _ = rand.Read(b[:])
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 100 + b[0]%100, 0, 0}), 16)
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // closed at once
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		addr, _ := l.Addr().(*net.TCPAddr)
		ports = append(ports, addr.Port)
	}
	return ports, nil
}
