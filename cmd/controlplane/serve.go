package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/alerts"
	"controlplane/internal/api"
	"controlplane/internal/backup"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/capacity"
	"controlplane/internal/cleanup"
	"controlplane/internal/config"
	"controlplane/internal/domains"
	"controlplane/internal/feed"
	"controlplane/internal/invoicing"
	"controlplane/internal/metrics"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/provision/docker"
	"controlplane/internal/provision/pgcluster"
)

const (
	roleAPI    = "api"
	roleWorker = "worker"

	startupTimeout = 30 * time.Second
	drainTimeout   = 25 * time.Second
	startRetry     = 2 * time.Second
	clusterRetry   = 20 * time.Second

	memoryGoal = 96 << 20 // of the heap and what belongs to it; the program's own pages come on top
)

var serveParts = []config.Part{config.PartPlatform, config.PartAuth, config.PartSealing, config.PartPayments, config.PartCluster} //nolint:gochecknoglobals // a constant list

func newServeCommand() *cobra.Command {
	var roles []string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the API and the workers",
		Long: `Run the API and the workers, or one of them; several may run side by side.

A process with only the api role needs neither the container engine nor the tenants' database server.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, r := range roles {
				if r != roleAPI && r != roleWorker {
					return fmt.Errorf("--roles: %q is not a role; there are %s and %s", r, roleAPI, roleWorker)
				}
			}
			parts := serveParts
			if !slices.Contains(roles, roleWorker) {
				parts = slices.DeleteFunc(slices.Clone(parts), func(p config.Part) bool { return p == config.PartCluster })
			}
			cfg, err := loadConfig(parts...)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, roles, newLogger(cfg.API.LogLevel, "serve"))
		},
	}
	cmd.Flags().StringSliceVar(&roles, "roles", []string{roleAPI, roleWorker}, "what this process does")
	return cmd
}

// limitMemory lets the collector work before the heap has doubled, since copies of templates that are kept would count twice. GOMEMLIMIT
// overrules it.
func limitMemory() {
	if debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(memoryGoal)
	}
}

// platform is everything that serve wires. provision, gauge, engine and cluster are nil in a process without the worker role.
type platform struct {
	*domain
	cfg       config.Config
	log       *slog.Logger
	billing   *billing.Service
	invoices  *invoicing.Service
	domains   *domains.Service
	capacity  *capacity.Service
	schedules *cleanup.Service
	provision *provision.Service
	gauge     *provision.Gauge
	backups   *backup.Service // nil: there is no place for any
	engine    *docker.Runtime
	cluster   *pgcluster.Cluster

	metrics *prometheus.Registry // whoever has numbers registers them while the platform is wired

	backupDesk  *backup.Desk // nil, as backups is
	backupPlans *backup.Planner
	intake      *backup.Intake
	packer      *backup.Packer // nil in a process without the worker role, too
}

// serve runs until ctx ends, then drains.
func serve(ctx context.Context, cfg config.Config, roles []string, log *slog.Logger) error {
	limitMemory()
	p, err := openPlatform(ctx, cfg, roles, log)
	if err != nil {
		return err
	}
	defer p.pool.Close()
	g, gctx := errgroup.WithContext(ctx)
	if cfg.Metrics != "" {
		g.Go(func() error { metrics.Server{Listen: cfg.Metrics, Registry: p.metrics, Log: log}.Run(gctx); return nil })
	}
	if slices.Contains(roles, roleWorker) {
		g.Go(func() error { return p.work(gctx) })
		if cfg.Worker.Listen != "" {
			g.Go(func() error { return p.inspections(gctx) })
		}
	}
	if slices.Contains(roles, roleAPI) {
		events, err := feed.New(feed.Deps{Pool: p.pool, Log: log}, feed.Options{})
		if err != nil {
			return fmt.Errorf("set up the feed of events: %w", err)
		}
		handler, err := p.handler(events)
		if err != nil {
			return err
		}
		g.Go(func() error { events.Run(gctx); return nil })
		g.Go(func() error { return api.Serve(gctx, cfg.API.Listen, handler, log, nil) })
	}
	return g.Wait()
}

func openPlatform(ctx context.Context, cfg config.Config, roles []string, log *slog.Logger) (*platform, error) {
	d, err := openDomain(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	p := &platform{domain: d, cfg: cfg, log: log, metrics: metrics.NewRegistry()}
	p.metrics.MustRegister(alerts.New(d.pool))
	if err := p.wire(ctx, slices.Contains(roles, roleWorker)); err != nil {
		d.pool.Close()
		return nil, err
	}
	return p, nil
}

func (p *platform) wire(ctx context.Context, worker bool) error {
	startup, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	installation, err := postgres.InstallationID(startup, p.pool)
	if err != nil {
		return errors.Join(errors.New("the platform database can't be used; is it up, and has \"controlplane migrate\" run?"), err)
	}
	if err := p.checkRole(startup); err != nil {
		return err
	}
	p.wireCapacity()
	if p.backups, err = newBackups(p.domain, p.cfg); err != nil {
		return err
	}
	if err := p.wireBackupPlans(); err != nil {
		return err
	}
	if worker {
		if err := p.wireWorker(startup, installation); err != nil {
			return err
		}
	}
	gateway, err := paystack.New(paystack.Options{SecretKeys: p.cfg.Paystack.SecretKeys(), BaseURL: p.cfg.Paystack.BaseURL})
	if err != nil {
		return fmt.Errorf("set up the payment gateway: %w", err)
	}
	if p.invoices, err = newInvoices(p.cfg, p.domain); err != nil {
		return err
	}
	p.billing = billing.New(billing.Deps{
		Pool: p.pool, Tenants: p.tenants, Ops: p.ops, Gateway: gateway, Provisioner: provision.Enqueuer{Ops: p.ops}, Audit: p.audit, Capacity: p.capacity,
		Invoices: p.invoices, Log: p.log, Sealer: p.sealer,
	}, billing.Options{
		CallbackURL: p.cfg.CallbackURL(), Dunning: dunning(p.cfg.Dunning), ChargeWait: time.Duration(p.cfg.Dunning.ChargeWait) * time.Hour,
	})
	p.billing.Register()
	if err := p.wireDomains(); err != nil {
		return err
	}
	p.wireSchedules()
	if worker && p.backups != nil {
		sweeps, err := p.storeSweeps(installation)
		if err != nil {
			return err
		}
		p.schedules.Add(sweeps...)
	}
	return nil
}

func dunning(c config.Dunning) billing.Dunning {
	return billing.Dunning{
		Days: c.Days, SuspendAfter: c.SuspendAfter, DeleteAfter: c.DeleteAfter, Undo: time.Duration(c.UndoHours) * time.Hour, Remind: c.Remind,
	}
}

// checkRole refuses to run as a role that could rewrite the audit log; with DEBUG it only says so.
func (p *platform) checkRole(ctx context.Context) error {
	excess, err := postgres.Excess(ctx, p.pool)
	if err != nil || len(excess) == 0 {
		return err
	}
	if p.cfg.Debug {
		p.log.WarnContext(ctx, "the role of DATABASE_URL may do more than it should; see MIGRATE_DATABASE_URL", "excess", excess)
		return nil
	}
	return fmt.Errorf("the role of DATABASE_URL may do more than a running platform should (see MIGRATE_DATABASE_URL):\n  - %s", strings.Join(excess, "\n  - "))
}

func (p *platform) wireWorker(ctx context.Context, installation string) error {
	if err := p.wireProvision(ctx, installation); err != nil {
		return err
	}
	p.provision.Register()
	if err := p.wireBackups(); err != nil {
		return err
	}
	return p.wireGauge()
}

// wireProvision is also for commands that look at what a worker works on.
func (p *platform) wireProvision(ctx context.Context, installation string) error {
	binary := p.cfg.Engine.Binary
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		binary = self
	}
	var err error
	p.engine, err = docker.New(docker.Options{Host: p.cfg.Engine.Socket, Installation: installation, Binary: binary, Log: p.log})
	if err != nil {
		return fmt.Errorf("DOCKER_SOCKET_PATH: %w", err)
	}
	p.cluster, err = pgcluster.New(ctx, clusterOptions(p.cfg, installation, p.log))
	if err != nil {
		return fmt.Errorf("EXTERNAL_DB_*: %w", err)
	}
	c := p.cfg.Cluster
	root, err := rootCertificate(c)
	if err != nil {
		return err
	}
	p.provision, err = provision.New(provision.Deps{
		Pool: p.pool, Ops: p.ops, Tenants: p.tenants, Runtime: p.engine, Database: p.cluster, Log: p.log, FinalBackup: p.finalBackup(),
		Copies: p.copies(),
	}, provision.Options{
		Installation: installation, Image: p.cfg.Engine.OdooImage, Supernet: c.Supernet, DNS: c.DNS,
		DatabaseHost: c.Host, DatabasePort: c.Port, TenantDatabaseHost: c.TenantHost, SSLMode: c.SSLMode,
		RootCert: root,
		Spares:   spares(c.Spares), TenantURL: p.cfg.TenantURL, EdgeURL: p.cfg.EdgeProbeURL(),
	})
	if err != nil {
		return fmt.Errorf("set up provisioning: %w", err)
	}
	return nil
}

// rootCertificate is what tenants verify their database server by, nil if they don't.
func rootCertificate(c config.Cluster) ([]byte, error) {
	if c.RootCert == "" {
		return nil, nil
	}
	root, err := os.ReadFile(c.RootCert)
	if err != nil {
		return nil, fmt.Errorf("EXTERNAL_DB_SSLROOTCERT: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(root) {
		return nil, fmt.Errorf("EXTERNAL_DB_SSLROOTCERT: there is no certificate in %s", c.RootCert)
	}
	return root, nil
}

// spares translates "none", which for provisioning is negative.
func spares(n int) int {
	if n == 0 {
		return -1
	}
	return n
}

func clusterOptions(cfg config.Config, installation string, log *slog.Logger) pgcluster.Options {
	c := cfg.Cluster
	return pgcluster.Options{
		Host: c.Host, Port: c.Port, User: c.User, Password: c.Password, Database: c.Database, SSLMode: c.SSLMode,
		RootCertFile: c.RootCert, DiskBytes: int64(c.DiskGB) << 30, Installation: installation, Log: log,
	}
}

// work runs the operations engine until ctx ends, and drains it then.
func (p *platform) work(ctx context.Context) error {
	checked, err := p.checkCluster(ctx)
	if err != nil {
		return err
	}
	for {
		err := p.ops.Start(ctx)
		if err == nil {
			break
		}
		p.log.WarnContext(ctx, "the workers can't start yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(startRetry):
		}
	}
	if !checked {
		err = untilChecked(ctx, clusterRetry, p.checkCluster)
	}
	if err == nil {
		<-ctx.Done()
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := p.ops.Stop(drain); err != nil {
		p.log.WarnContext(drain, "some work was cut short; it goes on where it was at the next start", "error", err)
	}
	return err
}

// untilChecked repeats check until it could be made, and returns what it found; nil when ctx ends before.
func untilChecked(ctx context.Context, every time.Duration, check func(context.Context) (bool, error)) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
		if checked, err := check(ctx); checked {
			return err
		}
	}
}

// checkCluster refuses to work on a server that is set up unsafely, and reports whether it could be asked. One that is down is waited for
// by the operations themselves.
func (p *platform) checkCluster(ctx context.Context) (checked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	report, err := p.provision.Check(ctx)
	if err != nil {
		p.log.WarnContext(ctx, "the tenants' database server can't be checked yet", "error", err)
		return false, nil
	}
	for _, w := range report.Warnings {
		p.log.WarnContext(ctx, "tenants' database server", "warning", w)
	}
	if len(report.Problems) > 0 {
		return true, fmt.Errorf("the tenants' database server (EXTERNAL_DB_*) can't be used:\n  - %s", strings.Join(report.Problems, "\n  - "))
	}
	return true, nil
}
