package capacity

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Metrics is how the platform is doing, for admins. All but the clients is from the workers' last samples.
type Metrics struct {
	SampledAt   time.Time // zero: no worker has measured yet
	Stale       bool      // that was long ago
	Hosts       int
	CPU         CPU
	Memory      Share
	Disk        Share
	Containers  int // running, anybody's
	Connections Count
	Subnets     Count
	Clients     Clients
}

// CPU is the load of all cores.
type CPU struct {
	Percent float64
	Count   int
}

// Share is how much of a size is used; zeros mean that it couldn't be measured.
type Share struct {
	TotalGB float64 // GiB, two digits
	UsedGB  float64
	Percent float64
}

// Count is how many of a number are used.
type Count struct {
	Total int
	Used  int
}

// Clients counts those that aren't deleted.
type Clients struct {
	Total  int
	Active int
}

// Metrics takes one statement for the samples and one for the clients.
func (s *Service) Metrics(ctx context.Context) (Metrics, error) {
	t, err := s.latest(ctx)
	if err != nil {
		return Metrics{}, err
	}
	m := Metrics{
		Stale: t.stale(s.now(), s.opts.StaleAfter), Hosts: int(t.hosts),
		CPU:    CPU{Percent: round(t.cpuPercent), Count: int(t.cores)},
		Memory: share(t.memoryUsedMB, t.memoryMB), Disk: share(t.diskUsedMB, t.diskMB), Containers: int(t.containersRunning),
		Connections: Count{Total: int(t.maxConnections), Used: int(t.connections)},
		Subnets:     Count{Total: int(t.subnets), Used: int(t.subnetsUsed)},
	}
	if t.hosts > 0 {
		m.SampledAt = t.sampledAt.UTC()
	}
	err = s.pool.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE state = 'active') FROM tenants WHERE state <> 'deleted'`).
		Scan(&m.Clients.Total, &m.Clients.Active)
	if err != nil {
		return Metrics{}, fmt.Errorf("count the clients: %w", err)
	}
	return m, nil
}

func share(used, of int64) Share {
	if of <= 0 {
		return Share{}
	}
	return Share{TotalGB: round(float64(of) / 1024), UsedGB: round(float64(used) / 1024), Percent: round(float64(used) / float64(of) * 100)}
}

func round(x float64) float64 { return math.Round(x*100) / 100 }
