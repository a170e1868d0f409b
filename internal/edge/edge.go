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
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/secrets"
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
	ProductName    string         // on our own pages; default "Odoo hosting"
	MaxBodyBytes   int64          // default 128 MiB
	DrainTimeout   time.Duration  // how long requests may finish at the end, default 15 s
	ResyncInterval time.Duration  // between full reads of the table, default 2 min
	Log            *slog.Logger
}

// Status is how the edge is doing.
type Status struct {
	Loaded    bool      // the table holds something to serve from: PostgreSQL's or the disk's
	Connected bool      // notifications are coming in
	SyncedAt  time.Time // last full read from PostgreSQL; zero: never
	Routes    int
}

// Edge is one edge. Several processes may run one each, side by side.
type Edge struct {
	id    string
	opts  Options
	table *table
	pages *pages
	log   *slog.Logger
}

// New returns an edge; Run starts it.
func New(opts Options) (*Edge, error) {
	if opts.Pool == nil || opts.Log == nil {
		return nil, errors.New("the edge needs a database pool and a logger")
	}
	opts.Listen = cmp.Or(opts.Listen, ":8080")
	opts.BaseDomain = strings.ToLower(strings.Trim(cmp.Or(opts.BaseDomain, "localhost"), ". "))
	opts.ProductName = cmp.Or(opts.ProductName, "Odoo hosting")
	opts.MaxBodyBytes = cmp.Or(opts.MaxBodyBytes, 128<<20)
	opts.DrainTimeout = cmp.Or(opts.DrainTimeout, 15*time.Second)
	opts.ResyncInterval = cmp.Or(opts.ResyncInterval, 2*time.Minute)
	pages, err := newPages(opts.ProductName)
	if err != nil {
		return nil, err
	}
	return &Edge{id: secrets.RandomHex(8), opts: opts, table: newTable(), pages: pages, log: opts.Log}, nil
}

// Status returns how the edge is doing now.
func (e *Edge) Status() Status { return e.table.status() }

var running sync.Mutex //nolint:gochecknoglobals // Caddy's configuration is global, so this guard is

// Run serves until ctx ends, then lets requests finish for DrainTimeout. The first answer is ready when the table is loaded; until
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
	defer feeders.Wait()
	defer stopFeeding()

	config, err := e.config()
	if err != nil {
		return err
	}
	if err := caddy.Run(config); err != nil {
		return fmt.Errorf("start the edge on %s: %w", e.opts.Listen, err)
	}
	e.log.InfoContext(ctx, "edge is listening", "listen", e.opts.Listen, "base_domain", e.opts.BaseDomain)
	<-ctx.Done()
	if err := caddy.Stop(); err != nil {
		return fmt.Errorf("stop the edge: %w", err)
	}
	e.log.InfoContext(context.WithoutCancel(ctx), "edge has stopped")
	return nil
}
