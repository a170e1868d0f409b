package capacity

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/tenants"
)

// demand is what clients may use by their plans.
type demand struct {
	memoryMB    int64
	cpuMilli    int64
	diskMB      int64
	connections int64
	clients     int64 // each needs a subnet
}

func demandOf(p tenants.Plan) demand {
	return demand{
		memoryMB: int64(p.MemoryMB), cpuMilli: int64(p.CPUMilli), diskMB: int64(p.StorageGB) << 10, connections: int64(p.DBConnections), clients: 1,
	}
}

func (d demand) plus(o demand) demand {
	return demand{d.memoryMB + o.memoryMB, d.cpuMilli + o.cpuMilli, d.diskMB + o.diskMB, d.connections + o.connections, d.clients + o.clients}
}

// promised adds up the plans of the paid clients that aren't being deleted, stopped ones too since they may come back, and of unpaid ones
// with a checkout that was opened lately. Payments are read here, never written.
func (s *Service) promised(ctx context.Context, except tenants.ID) (demand, error) {
	var d demand
	err := s.pool.QueryRow(ctx, `
		SELECT coalesce(sum(p.memory_mb * n), 0), coalesce(sum(p.cpu_milli * n), 0), coalesce(sum(p.storage_gb * n), 0) * 1024,
		       coalesce(sum(p.db_connections * n), 0), coalesce(sum(n), 0)
		FROM (
			SELECT plan_id, count(*) AS n FROM tenants
			WHERE paid_at IS NOT NULL AND state NOT IN ('pending', 'deleting', 'deleted') AND id <> $1 GROUP BY 1
			UNION ALL
			SELECT t.plan_id, count(DISTINCT t.id) FROM payments y JOIN tenants t ON t.id = y.tenant_id
			WHERE t.state = 'pending' AND y.status = 'pending' AND y.created_at > $2 AND t.id <> $1 GROUP BY 1
		) taken JOIN plans p ON p.id = taken.plan_id`, except, s.now().Add(-s.opts.CheckoutHold)).
		Scan(&d.memoryMB, &d.cpuMilli, &d.diskMB, &d.connections, &d.clients)
	if err != nil {
		return demand{}, fmt.Errorf("add up what is promised: %w", err)
	}
	return d, nil
}

// judge returns what there is too little of, in words for operators.
func (o Options) judge(have total, promised demand, now time.Time) []string {
	if have.hosts == 0 {
		return nil
	}
	var lacking []string
	promise := func(what string, promised, has int64, factor float64) {
		if has > 0 && float64(promised) > float64(has)*factor {
			lacking = append(lacking, fmt.Sprintf("%s: %d would be promised, there are %d (may be promised %g times)", what, promised, has, factor))
		}
	}
	promise("memory in MiB", promised.memoryMB, have.memoryMB, o.MemoryOvercommit)
	promise("thousandths of a core", promised.cpuMilli, have.cores*1000, o.CPUOvercommit)
	promise("disk in MiB", promised.diskMB, have.diskMB, o.DiskOvercommit)
	promise("database connections", promised.connections, have.maxConnections, o.ConnectionsOvercommit)
	promise("subnets", promised.clients, have.subnets, 1)
	if have.stale(now, o.StaleAfter) {
		return lacking
	}
	used := func(what string, used, has int64, percent float64) {
		if has > 0 && float64(used) >= float64(has)*percent/100 {
			lacking = append(lacking, fmt.Sprintf("%s: %d of %d are used", what, used, has))
		}
	}
	used("memory in MiB", have.memoryUsedMB, have.memoryMB, o.MaxUsedPercent)
	used("disk in MiB", have.diskUsedMB, have.diskMB, o.MaxUsedPercent)
	used("database connections", have.connections, have.maxConnections, o.MaxUsedPercent)
	used("subnets", have.subnetsUsed, have.subnets, 100)
	return lacking
}
