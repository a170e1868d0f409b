package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"controlplane/internal/config"
)

func newDevCommand() *cobra.Command {
	var stateDir string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole platform on this machine",
		Long: `Run the whole platform on this machine: databases, payment simulator, edge, API and workers.

What isn't configured by the environment or .env gets a working default, and secrets are made up
and kept in the state folder. Ctrl-C stops the platform's processes; the engine, the databases and
the tenants go on. "dev stop" stops those too, "dev clean" removes everything that is ours.`,
		Args: cobra.NoArgs,
		RunE: withDev(&stateDir, (*dev).run),
	}
	cmd.PersistentFlags().StringVar(&stateDir, "state-dir", cmp.Or(os.Getenv("STATE_DIR"), ".state"), "folder for secrets, logs and image references") //nolint:forbidigo // a flag's default
	cmd.AddCommand(
		&cobra.Command{Use: "stop", Short: "Stop the tenants and the databases; data stays", Args: cobra.NoArgs, RunE: withDev(&stateDir, (*dev).stop)},
		&cobra.Command{Use: "clean", Short: "Remove everything that is ours: tenants, databases, data", Args: cobra.NoArgs, RunE: withDev(&stateDir, (*dev).clean)},
	)
	return cmd
}

// withDev opens the state folder, whose name is known once the flags are read, and does one thing with it.
func withDev(stateDir *string, do func(*dev, context.Context) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		d, err := openDev(*stateDir, cmd.OutOrStdout())
		if err != nil {
			return err
		}
		return do(d, cmd.Context())
	}
}

// dev is the platform on one machine.
type dev struct {
	state   *devState
	environ map[string]string // what the children get
	user    map[string]string // what the user set: environment and .env
	out     io.Writer
	outMu   sync.Mutex
	started time.Time
}

func openDev(stateDir string, out io.Writer) (*dev, error) {
	state, err := openDevState(stateDir)
	if err != nil {
		return nil, err
	}
	user, err := config.Environ(".env")
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(user, func(_, v string) bool { return v == "" })
	environ := devDefaults(state)
	maps.Copy(environ, state.images)
	maps.Copy(environ, state.settings)
	maps.Copy(environ, user)
	d := &dev{state: state, environ: environ, user: user, out: out, started: time.Now()}
	d.deriveAddresses()
	return d, nil
}

// devDefaults is the configuration of a platform that nobody configured.
func devDefaults(state *devState) map[string]string {
	return map[string]string{
		"DEBUG":                      "true",
		"BASE_DOMAIN":                "localhost",
		"API_LISTEN":                 "127.0.0.1:8001",
		"EDGE_LISTEN":                ":8080",
		"EDGE_STATE_FILE":            state.path("edge-routes.json"),
		"BACKUP_DIR":                 state.path("uploads"),
		"EXTERNAL_DB_PORT":           "15433",
		"EXTERNAL_DB_USER":           "odoo_clients",
		"EXTERNAL_DB_SSLMODE":        "disable", // loopback and the gateway of a bridge on this machine
		"TENANT_SUPERNET":            "10.212.0.0/16",
		"DEV_PLATFORM_DB_PORT":       "15432",
		"DEV_SIMULATOR_LISTEN":       "127.0.0.1:8010",
		"DEV_SIMULATOR_ADMIN_LISTEN": "127.0.0.1:8011",
		"DEV_S3_LISTEN":              "127.0.0.1:8012",
	}
}

// deriveAddresses fills in the addresses that follow from others, so that moving a port is one setting.
func (d *dev) deriveAddresses() {
	set := func(name, value string) {
		if d.environ[name] == "" {
			d.environ[name] = value
		}
	}
	set("API_PUBLIC_URL", "http://"+loopback(d.environ["API_LISTEN"]))
	_, edgePort, _ := net.SplitHostPort(d.environ["EDGE_LISTEN"])
	set("EDGE_PUBLIC_URL", "http://"+net.JoinHostPort(d.environ["BASE_DOMAIN"], edgePort))
	if host := d.environ["DOCKER_HOST"]; host != "" {
		set("DOCKER_SOCKET_PATH", host) // what the docker command uses
	}
	if d.simulated() {
		d.environ["PAYSTACK_BASE_URL"] = "http://" + d.environ["DEV_SIMULATOR_LISTEN"]
	}
	if !d.ownCluster() {
		return
	}
	d.environ["EXTERNAL_DB_HOST"] = "127.0.0.1"
}

// loopback turns a listen address into one that can be dialled from this machine.
func loopback(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || host != "" && host != "0.0.0.0" && host != "::" {
		return listen
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// simulated, ownPlatform and ownCluster report which parts the user hasn't configured, so that dev brings its own.
func (d *dev) simulated() bool {
	return d.user["PAYSTACK_SECRET_KEY"] == "" && d.user["PAYSTACK_SECRET_KEY_FILE"] == ""
}

func (d *dev) ownPlatform() bool {
	return d.user["DATABASE_URL"] == "" && d.user["DATABASE_URL_FILE"] == ""
}
func (d *dev) ownCluster() bool { return d.user["EXTERNAL_DB_HOST"] == "" }

func (d *dev) setting(name string) string { return d.environ[name] }

// say prints one line of progress with the time since the start.
func (d *dev) say(format string, args ...any) {
	d.outMu.Lock()
	defer d.outMu.Unlock()
	_, _ = fmt.Fprintf(d.out, "%7.1fs  %s\n", time.Since(d.started).Seconds(), fmt.Sprintf(format, args...))
}

// run brings everything up, prints how to use it, and stays until ctx ends.
func (d *dev) run(ctx context.Context) error {
	if err := d.state.lock(); err != nil {
		return err
	}
	if _, err := engineCLI(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return fmt.Errorf("the container engine can't be reached: %w", err)
	}
	cfg, err := d.prepare(ctx)
	if err != nil {
		return err
	}
	if err := d.portsFree(ctx, cfg); err != nil {
		return err
	}
	children, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	s := &supervisor{logs: d.state.path("logs"), print: d.say}
	for _, c := range d.children() {
		s.run(children, c)
	}
	err = d.greet(ctx, cfg)
	if err == nil {
		<-ctx.Done()
	}
	d.say("stopping the platform's processes; the engine, the databases and the tenants go on (make stop stops them)")
	stop()
	s.wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// prepare starts the databases, migrates and seeds.
func (d *dev) prepare(ctx context.Context) (config.Config, error) {
	supernet := d.setting("TENANT_SUPERNET")
	prefix, err := parsePrefix(supernet)
	if err != nil {
		return config.Config{}, err
	}
	if d.ownPlatform() {
		d.say("platform database")
		if err := d.startPlatformDatabase(ctx); err != nil {
			return config.Config{}, err
		}
	}
	if d.ownCluster() {
		d.say("tenants' database server")
		if err := d.startCluster(ctx, prefix); err != nil {
			return config.Config{}, err
		}
	}
	if err := d.prepareStore(); err != nil {
		return config.Config{}, err
	}
	cfg, err := config.Load(d.environ, serveParts...)
	if err != nil {
		return config.Config{}, err
	}
	d.say("migrations and the seeded accounts")
	if err := d.seed(ctx, cfg); err != nil {
		return config.Config{}, err
	}
	return cfg, d.rememberInstallation(ctx, cfg)
}

// portsFree gives one line a port that is in use, instead of a child that can't start.
func (d *dev) portsFree(ctx context.Context, cfg config.Config) error {
	listens := map[string]string{"API_LISTEN": cfg.API.Listen, "EDGE_LISTEN": cfg.Edge.Listen}
	if d.simulated() {
		listens["DEV_SIMULATOR_LISTEN"] = d.setting("DEV_SIMULATOR_LISTEN")
		listens["DEV_SIMULATOR_ADMIN_LISTEN"] = d.setting("DEV_SIMULATOR_ADMIN_LISTEN")
	}
	if d.ownStore() {
		listens["DEV_S3_LISTEN"] = d.setting("DEV_S3_LISTEN")
	}
	var problems []error
	var lc net.ListenConfig
	for _, name := range slices.Sorted(maps.Keys(listens)) {
		l, err := lc.Listen(ctx, "tcp", listens[name])
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %s is in use or can't be used; is another \"make run\" up? Set %s to another address", name, listens[name], name))
			continue
		}
		_ = l.Close()
	}
	return errors.Join(problems...)
}

func (d *dev) children() []child {
	env := make([]string, 0, len(d.environ))
	for _, name := range slices.Sorted(maps.Keys(d.environ)) {
		if strings.HasPrefix(name, "DEV_") || strings.HasPrefix(name, "MIGRATE_") {
			continue // the superuser's and the seeded accounts' passwords are nobody else's business
		}
		env = append(env, name+"="+d.environ[name])
	}
	children := []child{
		{name: "serve", args: []string{"serve", "--roles=api,worker"}, env: env},
		{name: "edge", args: []string{"edge"}, env: env},
	}
	if d.ownStore() {
		children = append(children, d.store())
	}
	if d.simulated() {
		children = append(children, child{name: "simulator", env: env, args: []string{
			"paystack-simulator", "--listen", d.setting("DEV_SIMULATOR_LISTEN"), "--admin-listen", d.setting("DEV_SIMULATOR_ADMIN_LISTEN"),
			"--webhook-url", d.setting("API_PUBLIC_URL") + "/api/payments/webhook", "--state-file", d.state.path("simulator.json"),
		}})
	}
	return children
}

// waitFor polls url until it answers 200.
func waitFor(ctx context.Context, url string, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(bounded, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil { // Ctrl-C
				return ctx.Err()
			}
			return fmt.Errorf("%s didn't answer in %v; see the logs in the state folder", url, timeout)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
