// Package provision makes tenants: the workflows that turn a paid client into a running Odoo, the templates that they clone, the subnets,
// odoo.conf and readiness. What it needs of a container engine and of a database server it declares (Runtime, Database); it talks to
// neither itself.
package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// The kinds of operation that are done here.
const (
	ProvisionKind = tenants.ProvisionKind
	BuildKind     = "template.build"
)

// Deps is what a Service works with; all but FinalBackup and Copies are required.
type Deps struct {
	Pool     *pgxpool.Pool
	Ops      *ops.Engine
	Tenants  *tenants.Service
	Runtime  Runtime
	Database Database
	Log      *slog.Logger

	FinalBackup FinalBackup // nil: tenants that never had a backup are deleted without one, others wait
	Copies      Copies      // nil: no tenant is to be a copy
}

// Options tell where things are. Installation, Image, Supernet, DatabaseHost and TenantURL are required.
type Options struct {
	Installation       string       // the id that marks what is ours
	Image              string       // Odoo's, as the engine knows it
	Supernet           netip.Prefix // that tenants' subnets are cut from
	DNS                []netip.Addr // resolvers that tenants use; none: the engine's choice
	DatabaseHost       string       // of the tenants' database server, as we see it
	DatabasePort       int          // default 5432
	TenantDatabaseHost string       // the same as tenants see it; "": DatabaseHost, or the gateway of their network if that is loopback
	SSLMode            string       // of tenants' connections to it; default prefer
	RootCert           []byte       // PEM, by which they verify it; none: they don't
	TenantURL          func(domain string) string
	EdgeURL            string        // of the edge as we reach it; "": tenants aren't probed through it
	ReadyTimeout       time.Duration // how long an Odoo may take to answer; default 2 min
	Spares             int           // clones kept ready for each template that plans use; negative: none; default 2
	OrphanGrace        time.Duration // from the first sight of an orphan to its removal; default 24 h
}

// Service provisions tenants. What it keeps in memory may be lost at any time: when the firewall was last looked after, and passwords that
// nobody has yet.
type Service struct {
	pool     *pgxpool.Pool
	ops      *ops.Engine
	tenants  *tenants.Service
	runtime  Runtime
	database Database
	log      *slog.Logger
	opts     Options
	subnets  subnets
	prober   *prober
	firewall firewallGuard
	stock    *stock
	health   *health

	finalBackup FinalBackup
	copies      Copies
	reconciling sync.Mutex
}

// New checks the options; it reaches for nothing.
func New(deps Deps, opts Options) (*Service, error) {
	if deps.Pool == nil || deps.Ops == nil || deps.Tenants == nil || deps.Runtime == nil || deps.Database == nil || deps.Log == nil {
		return nil, errors.New("provisioning lacks a dependency")
	}
	if opts.Installation == "" || opts.Image == "" || opts.DatabaseHost == "" || opts.TenantURL == nil {
		return nil, errors.New("provisioning needs an installation id, an image, a database server and tenants' addresses")
	}
	nets, err := newSubnets(opts.Supernet)
	if err != nil {
		return nil, err
	}
	opts.DatabasePort = cmp.Or(opts.DatabasePort, 5432)
	opts.SSLMode = cmp.Or(opts.SSLMode, "prefer")
	opts.ReadyTimeout = cmp.Or(opts.ReadyTimeout, 2*time.Minute)
	opts.Spares = max(cmp.Or(opts.Spares, 2), 0)
	opts.OrphanGrace = cmp.Or(opts.OrphanGrace, 24*time.Hour)
	return &Service{
		pool: deps.Pool, ops: deps.Ops, tenants: deps.Tenants, runtime: deps.Runtime, database: deps.Database, log: deps.Log,
		opts: opts, subnets: nets, prober: newProber(), stock: newStock(), health: newHealth(),
		finalBackup: deps.FinalBackup, copies: deps.Copies,
	}, nil
}

// Register makes the workflows and the periodic tasks known to the operations engine; call it before the engine starts.
func (s *Service) Register() {
	s.ops.Register(s.ProvisionWorkflow())
	s.ops.Register(s.BuildWorkflow())
	s.ops.Register(s.ResetWorkflow())
	s.ops.Register(s.SuspendWorkflow())
	s.ops.Register(s.StopWorkflow())
	s.ops.Register(s.ResumeWorkflow())
	s.ops.Register(s.ResizeWorkflow())
	s.ops.Register(s.LinksWorkflow())
	s.ops.Register(s.DeleteWorkflow())
	s.ops.Register(s.NeutraliseWorkflow())
	s.ops.Every("firewall", time.Minute, s.ensureFirewall)
	s.ops.Every("templates", 10*time.Minute, s.EnsureTemplates)
	s.ops.Every("spares", 10*time.Second, s.ensureSpares)
}

// Enqueuer enqueues provisioning in processes that don't do it.
type Enqueuer struct{ Ops *ops.Engine }

// EnqueueTx starts the provisioning of a paid tenant with tx's commit. Errors: ops.ErrLive.
func (e Enqueuer) EnqueueTx(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	if _, err := e.Ops.EnqueueTx(ctx, tx, ProvisionKind, id.Subject(), provisionInput{TenantID: id}); err != nil {
		return fmt.Errorf("enqueue provisioning of tenant %s: %w", id, err)
	}
	return nil
}
