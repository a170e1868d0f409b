package provision

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/capacity"
	"controlplane/internal/tenants"
)

// GaugeDeps is what a Gauge works with; all but Now are required.
type GaugeDeps struct {
	Pool      *pgxpool.Pool
	Tenants   *tenants.Service
	Capacity  *capacity.Service
	Meter     Meter
	Databases DatabaseMeter
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// GaugeOptions are what the installation decides. Supernet is required.
type GaugeOptions struct {
	Supernet         netip.Prefix  // that tenants' subnets are cut from
	QuotaGrace       time.Duration // how long more than QuotaOverPercent of the plan's disk is borne; default 14 days
	QuotaOverPercent int           // default 120
}

// Gauge looks at what runs, for owners, for capacity and for the disk quota. It changes nothing on engine or database server. Sample is for
// every minute, MeasureDisks for every hour.
type Gauge struct {
	pool      *pgxpool.Pool
	tenants   *tenants.Service
	capacity  *capacity.Service
	meter     Meter
	databases DatabaseMeter
	log       *slog.Logger
	clock     func() time.Time
	subnets   subnets
	quota     quota
}

// NewGauge checks the options; it reaches for nothing.
func NewGauge(deps GaugeDeps, opts GaugeOptions) (*Gauge, error) {
	if deps.Pool == nil || deps.Tenants == nil || deps.Capacity == nil || deps.Meter == nil || deps.Databases == nil || deps.Log == nil {
		return nil, errors.New("measuring lacks a dependency")
	}
	nets, err := newSubnets(opts.Supernet)
	if err != nil {
		return nil, err
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Gauge{
		pool: deps.Pool, tenants: deps.Tenants, capacity: deps.Capacity, meter: deps.Meter, databases: deps.Databases, log: deps.Log,
		clock: deps.Now, subnets: nets,
		quota: quota{grace: cmp.Or(opts.QuotaGrace, 14*24*time.Hour), overPercent: cmp.Or(opts.QuotaOverPercent, 120)},
	}, nil
}

// now has PostgreSQL's resolution, so that what is written equals what is read back.
func (g *Gauge) now() time.Time { return g.clock().UTC().Truncate(time.Microsecond) }

// Stats tells what a tenant takes now. The filestore's size is from the last MeasureDisks: the engine walks through all volumes for it.
func (g *Gauge) Stats(ctx context.Context, t tenants.Tenant) (tenants.Stats, error) {
	stats := tenants.Stats{State: t.State, Containers: []tenants.ContainerStats{}}
	if t.State == tenants.Deleted { // what bears its name now is another's
		return stats, nil
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		c, found, err := g.meter.ContainerStats(ctx, containerName(t))
		if found {
			stats.Containers = append(stats.Containers, c)
		}
		return err
	})
	group.Go(func() (err error) {
		if stats.Disk, err = g.tenants.Disk(ctx, t.ID); err != nil {
			return err
		}
		size, err := g.databases.DatabaseSize(ctx, t.DBName)
		if err != nil { // the last size will do
			g.log.WarnContext(ctx, "a tenant's database can't be measured", "tenant", t.ID, "error", err)
			return nil
		}
		stats.Disk.DatabaseBytes = size
		return nil
	})
	if err := group.Wait(); err != nil {
		return tenants.Stats{}, fmt.Errorf("look at tenant %s: %w", t.ID, err)
	}
	return stats, nil
}

// Logs calls line for each line of the tenant's log, oldest first and with secrets struck out, and ends with its first error. What was
// never started, or is deleted, has no lines.
func (g *Gauge) Logs(ctx context.Context, t tenants.Tenant, q tenants.LogQuery, line func(tenants.LogLine) error) error {
	if t.State == tenants.Deleted {
		return nil
	}
	q.Tail = min(max(cmp.Or(q.Tail, tenants.DefaultLogTail), 0), tenants.MaxLogTail)
	known, err := g.tenants.Secrets(ctx, t.ID)
	if err != nil && !errors.Is(err, tenants.ErrNoSecrets) {
		return err // a log that can't be cleaned isn't shown
	}
	redact := newRedactor(known.DBPassword, known.MasterPassword, known.AdminPassword, known.PendingPassword)
	err = g.meter.ContainerLogs(ctx, containerName(t), q, func(l LogLine) error {
		l.Text = redact.line(l.Text)
		return line(l)
	})
	if err != nil {
		return fmt.Errorf("read the log of tenant %s: %w", t.ID, err)
	}
	return nil
}

// subnetsUsed counts those that can't be had: one that was freed long ago can.
func (g *Gauge) subnetsUsed(ctx context.Context) (used int, err error) {
	known, err := tenants.KnownToEdges(ctx, g.pool)
	if err != nil {
		return 0, err
	}
	err = g.pool.QueryRow(ctx, `SELECT count(*) FROM tenant_subnets WHERE tenant_id IS NOT NULL OR released_at >= least(now() - make_interval(secs => $1), $2)`,
		subnetRest.Seconds(), known).Scan(&used)
	return used, err
}

// Sample measures the host and what tenants share, and stores it for capacity. A part that can't be reached is left unknown.
func (g *Gauge) Sample(ctx context.Context) error {
	host, err := g.meter.Host(ctx)
	if err != nil {
		return fmt.Errorf("measure the host: %w", err)
	}
	load, err := g.databases.Load(ctx)
	if err != nil {
		g.log.WarnContext(ctx, "the tenants' database server can't be measured", "error", err)
	}
	used, err := g.subnetsUsed(ctx)
	if err != nil {
		return fmt.Errorf("count the subnets: %w", err)
	}
	err = g.capacity.Record(ctx, capacity.Sample{
		EngineID: host.EngineID, Host: host.Name, EngineVersion: host.EngineVersion, Cores: host.Cores, CPUPercent: host.CPUPercent,
		MemoryMB: megabytes(host.MemoryBytes), MemoryUsedMB: megabytes(host.MemoryUsedBytes),
		DiskMB: megabytes(host.DiskBytes), DiskUsedMB: megabytes(host.DiskUsedBytes), ContainersRunning: host.ContainersRunning,
		MaxConnections: max(load.MaxConnections-platformConnections, 0), Connections: load.Connections,
		Subnets: g.subnets.count - builderSubnets, SubnetsUsed: used,
	})
	if err != nil {
		return err
	}
	return g.capacity.Review(ctx)
}

func megabytes(bytes int64) int { return int(bytes >> 20) }
