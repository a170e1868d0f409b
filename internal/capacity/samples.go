package capacity

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/alerts"
)

// Sample is one look at a host and at what its tenants share. Sizes are in MiB; what couldn't be measured is zero, and then not judged.
type Sample struct {
	EngineID          string // of the host's engine: two workers on it measure the same host
	Host              string
	EngineVersion     string
	Cores             int
	CPUPercent        float64 // of all cores
	MemoryMB          int
	MemoryUsedMB      int
	DiskMB            int
	DiskUsedMB        int
	ContainersRunning int
	MaxConnections    int // that tenants can have on their database server
	Connections       int
	Subnets           int // that tenants can have
	SubnetsUsed       int // in use or resting
}

// Record stores a host's last sample.
func (s *Service) Record(ctx context.Context, x Sample) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO host_samples (engine_id, host, sampled_at, engine_version, cores, cpu_percent, memory_mb, memory_used_mb, disk_mb,
			disk_used_mb, containers_running, max_connections, connections, subnets, subnets_used)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
		ON CONFLICT (engine_id) DO UPDATE SET host = $2, sampled_at = $3, engine_version = $4, cores = $5, cpu_percent = $6, memory_mb = $7,
			memory_used_mb = $8, disk_mb = $9, disk_used_mb = $10, containers_running = $11, max_connections = $12, connections = $13,
			subnets = $14, subnets_used = $15`,
		x.EngineID, x.Host, s.now(), x.EngineVersion, x.Cores, x.CPUPercent, x.MemoryMB, x.MemoryUsedMB, x.DiskMB, x.DiskUsedMB,
		x.ContainersRunning, x.MaxConnections, x.Connections, x.Subnets, x.SubnetsUsed)
	if err != nil {
		return fmt.Errorf("store a sample of host %s: %w", x.Host, err)
	}
	return alerts.Resolve(ctx, s.pool, AlertStale, hostSubject)
}

// total is what all hosts have together. The database server and the subnets are shared, so they count once.
type total struct {
	hosts             int64
	sampledAt         time.Time // of the newest
	cores             int64
	cpuPercent        float64
	memoryMB          int64
	memoryUsedMB      int64
	diskMB            int64
	diskUsedMB        int64
	containersRunning int64
	maxConnections    int64
	connections       int64
	subnets           int64
	subnetsUsed       int64
}

func (t total) stale(now time.Time, after time.Duration) bool {
	return t.hosts > 0 && now.Sub(t.sampledAt) > after
}

// latest adds up the hosts that were measured at about the time of the newest sample: one that is gone for good doesn't count for ever.
func (s *Service) latest(ctx context.Context) (total, error) {
	var t total
	err := s.pool.QueryRow(ctx, `
		SELECT count(*), coalesce(max(sampled_at), 'epoch'), coalesce(sum(cores), 0), coalesce(sum(cpu_percent * cores) / nullif(sum(cores), 0), 0),
		       coalesce(sum(memory_mb), 0), coalesce(sum(memory_used_mb), 0), coalesce(sum(disk_mb), 0), coalesce(sum(disk_used_mb), 0),
		       coalesce(sum(containers_running), 0), coalesce(max(max_connections), 0), coalesce(max(connections), 0),
		       coalesce(max(subnets), 0), coalesce(max(subnets_used), 0)
		FROM host_samples WHERE sampled_at >= (SELECT max(sampled_at) FROM host_samples) - make_interval(secs => $1)`,
		s.opts.StaleAfter.Seconds()).Scan(&t.hosts, &t.sampledAt, &t.cores, &t.cpuPercent, &t.memoryMB, &t.memoryUsedMB, &t.diskMB,
		&t.diskUsedMB, &t.containersRunning, &t.maxConnections, &t.connections, &t.subnets, &t.subnetsUsed)
	if err != nil {
		return total{}, fmt.Errorf("read the samples of the hosts: %w", err)
	}
	return t, nil
}
