// Package edge is the data plane: Caddy as a library, its configuration loaded once, routing each tenant's address to its container
// from a table in memory. The table is fed by PostgreSQL's notifications and has a copy on disk, so that tenants are served while
// PostgreSQL and the rest of the control plane are down. It decides nothing about tenants: it only reads their routes.
package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"controlplane/internal/cors"
	"controlplane/internal/metrics"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// ErrRunning is returned by Run while another edge runs in this process: Caddy has one configuration per process.
var ErrRunning = errors.New("an edge already runs in this process")

// Options say where the edge listens and what it routes. Pool and Log are required.
type Options struct {
	Listen         string // default ":8080"
	BaseDomain     string // tenants are <name>.<BaseDomain>; default "localhost"
	Pool           *pgxpool.Pool
	StateFile      string         // the table's copy on disk; "": none
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and -Proto count
	APIUpstream    string         // host:port of the API, shown at api.<BaseDomain>; "": nothing there
	CORSOrigins    []string       // whose scripts may read what the edge answers in the API's place
	ProductName    string         // on our own pages; default "Odoo hosting"
	Brand          Brand          // of our own pages
	MaxBodyBytes   int64          // that no plan's limit goes beyond; 0: none
	AccessLog      string         // file with a line for each request; "": none
	MetricsListen  string         // where metrics and health are told, for operators alone; "": nowhere
	SlowClient     time.Duration  // a request's body may stall so long, default 1 min
	LameDuck       time.Duration  // at the end, how long answers ask to close their connections before any is closed, default 1 s
	DrainTimeout   time.Duration  // how long requests may finish after that, default 15 s
	ResyncInterval time.Duration  // between full reads of the table, default 2 min
	HealthInterval time.Duration  // between looks at how tenants are doing, of which six make the time that counts; default 10 s
	Log            *slog.Logger
	TLS            *TLS // nil: plain HTTP

	// Step returns what is being done for a tenant that can't be reached yet, "" for nothing; nil: the page tells no progress.
	Step func(context.Context, tenants.ID) (string, error)
	// OnHealth is told, under a name that an edge keeps, whose users get errors from it, all of them and perhaps nobody: when that has changed
	// and every minute. It is told again after an error of its own. nil: nobody is.
	OnHealth func(ctx context.Context, edge string, failing []TenantHealth) error
}

// Status is how the edge is doing.
type Status struct {
	Loaded    bool      // the table holds something to serve from: PostgreSQL's or the disk's
	Listening bool      // connections are taken
	Connected bool      // notifications are coming in
	SyncedAt  time.Time // last full read from PostgreSQL; zero: never
	AsOf      time.Time // PostgreSQL's time of the reading that the table stems from, this edge's or that of the one before it
	Routes    int
}

// Edge is one edge. Several processes may run one each, side by side.
type Edge struct {
	id          string // of this process, for Caddy's modules
	copyID      string // of the table, which outlives the process on disk
	opts        Options
	table       *table
	pages       *pages
	progress    *progressBook
	tenantLimit *limiter
	apiLimit    *limiter
	traffic     trafficBook
	access      *access
	registry    *prometheus.Registry
	origins     cors.Policy
	tls         *tlsSide // nil: none
	doors       doors
	open        openBook
	listening   atomic.Bool // from the first connection that may come to the last
	leaving     atomic.Bool
	log         *slog.Logger
}

// New returns an edge; Run starts it.
func New(opts Options) (*Edge, error) {
	if opts.Pool == nil || opts.Log == nil {
		return nil, errors.New("the edge needs a database pool and a logger")
	}
	opts.Listen = cmp.Or(opts.Listen, ":8080")
	opts.BaseDomain = strings.ToLower(strings.Trim(cmp.Or(opts.BaseDomain, "localhost"), ". "))
	opts.ProductName = cmp.Or(opts.ProductName, "Odoo hosting")
	opts.SlowClient = cmp.Or(opts.SlowClient, time.Minute)
	opts.LameDuck = cmp.Or(opts.LameDuck, time.Second)
	opts.DrainTimeout = cmp.Or(opts.DrainTimeout, 15*time.Second)
	opts.ResyncInterval = cmp.Or(opts.ResyncInterval, 2*time.Minute)
	opts.HealthInterval = cmp.Or(opts.HealthInterval, 10*time.Second)
	brand, err := newBrand(opts.ProductName, opts.Brand)
	if err != nil {
		return nil, err
	}
	pages, err := newPages(brand)
	if err != nil {
		return nil, err
	}
	origins, err := cors.New(opts.CORSOrigins)
	if err != nil {
		return nil, err
	}
	e := &Edge{
		id: secrets.RandomHex(8), copyID: secrets.RandomHex(8), opts: opts, table: newTable(), pages: pages, progress: newProgressBook(opts.Step),
		tenantLimit: newLimiter(), apiLimit: newLimiter(), access: newAccess(opts.AccessLog, opts.Log), registry: metrics.NewRegistry(),
		origins: origins, log: opts.Log,
	}
	if opts.TLS != nil {
		if e.tls, err = e.newTLS(*opts.TLS); err != nil {
			return nil, err
		}
	}
	e.registry.MustRegister((*collector)(e))
	return e, nil
}

// Status returns how the edge is doing now.
func (e *Edge) Status() Status {
	s := e.table.status()
	s.Listening = e.listening.Load() && !e.leaving.Load()
	return s
}

var running sync.Mutex //nolint:gochecknoglobals // Caddy's configuration is global, so this guard is

// Run serves until ctx ends, then hands over to whoever else listens there and lets requests finish for DrainTimeout. The first answer is ready when the table is loaded; until
// then every address answers 503. An address in use is an error at once.
func (e *Edge) Run(ctx context.Context) error {
	if !running.TryLock() {
		return ErrRunning
	}
	defer running.Unlock()
	instances.Store(e.id, e)
	defer instances.Delete(e.id)

	e.loadState(ctx)
	feeding, stopFeeding := context.WithCancel(ctx)
	var feeders sync.WaitGroup
	feeders.Go(func() { e.feed(feeding) })
	feeders.Go(func() { e.keepState(feeding) })
	feeders.Go(func() { e.keepCertificates(feeding) })
	feeders.Go(func() { e.watchHealth(feeding) })
	writing, stopWriting := context.WithCancel(context.WithoutCancel(ctx)) // what finishes while we drain is logged as well
	feeders.Go(func() { e.access.write(writing) })
	defer feeders.Wait()
	defer stopFeeding()
	defer stopWriting()

	feeders.Go(func() { e.serveMetrics(feeding) })
	config, err := e.config()
	if err != nil {
		return err
	}
	if err := caddy.Run(config); err != nil {
		return fmt.Errorf("start the edge on %s: %w", e.opts.Listen, err)
	}
	e.log.InfoContext(ctx, "edge is listening", "listen", e.opts.Listen, "tls", e.tls.address(), "base_domain", e.opts.BaseDomain)
	if e.tls != nil {
		feeders.Go(func() { e.keepQUIC(ctx) })
	}
	e.listening.Store(true)
	e.checkHandOver(ctx)
	<-ctx.Done()
	e.sayGoodbye(ctx)
	if err := caddy.Stop(); err != nil {
		return fmt.Errorf("stop the edge: %w", err)
	}
	e.drain(ctx)
	e.log.InfoContext(context.WithoutCancel(ctx), "edge has stopped")
	return nil
}
