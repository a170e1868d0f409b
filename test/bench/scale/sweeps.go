package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
	"controlplane/test/rig"
)

const (
	due        = 1000
	sweepLooks = 20
)

// sweeps takes the time of the queries that look for what is due, among all the clients that lists has made.
func sweeps(ctx context.Context, r *rig.Rig) error {
	pool, err := pgxpool.New(ctx, r.Pool.Config().ConnString()+"&pool_max_conns=1") // its statistics are those of one connection
	if err != nil {
		return err
	}
	defer pool.Close()
	service, err := domain(r, pool)
	if err != nil {
		return err
	}
	_, err = r.Pool.Exec(ctx, "UPDATE tenants SET payment_deadline = now() - interval '1 hour' WHERE name IN (SELECT 'bulk-' || g * 90 FROM generate_series(1, $1::int) g)", due)
	if err != nil {
		return err
	}
	_, err = r.Pool.Exec(ctx, `UPDATE tenants SET state = 'scheduled_for_deletion', desired = 'deleted', return_state = 'pending', deletion_scheduled_at = now() - interval '1 hour'
		WHERE name IN (SELECT 'bulk-' || g * 90 + 1 FROM generate_series(1, $1::int) g)`, due)
	if err != nil {
		return err
	}
	if _, err := r.Pool.Exec(ctx, "VACUUM ANALYZE tenants"); err != nil {
		return err
	}
	for name, look := range map[string]func(context.Context, time.Time, int) ([]tenants.ID, error){"unpaid": service.DueUnpaid, "deletions": service.DueDeletions} {
		if err := sweep(ctx, pool, name, look); err != nil {
			return err
		}
	}
	return nil
}

func sweep(ctx context.Context, pool *pgxpool.Pool, name string, look func(context.Context, time.Time, int) ([]tenants.ID, error)) error {
	scans := func() (n int, err error) {
		if _, err := pool.Exec(ctx, "SELECT pg_stat_force_next_flush()"); err != nil {
			return 0, err
		}
		err = pool.QueryRow(ctx, "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'tenants'").Scan(&n)
		return n, err
	}
	before, err := scans()
	if err != nil {
		return err
	}
	var times []time.Duration
	for range sweepLooks {
		start := time.Now()
		ids, err := look(ctx, time.Now(), 2*due)
		if err != nil {
			return err
		}
		if len(ids) != due {
			return fmt.Errorf("the sweep of %s finds %d, and %d are due", name, len(ids), due)
		}
		times = append(times, time.Since(start))
	}
	after, err := scans()
	if err != nil {
		return err
	}
	fmt.Printf("sweep of %s: %d due among %d clients found in %s, slowest of %d looks %s (target: 50 ms); table read through %d times\n",
		name, due, many, ms(percentile(times, 50)), sweepLooks, ms(percentile(times, 100)), after-before)
	return nil
}

// domain is as much of the program as the queries need.
func domain(r *rig.Rig, pool *pgxpool.Pool) (*tenants.Service, error) {
	sealer, err := secrets.NewSealer(secrets.Secret(r.Setting("DATA_KEY")))
	if err != nil {
		return nil, err
	}
	engine, err := ops.New(ops.Deps{Pool: pool, Log: slog.New(slog.DiscardHandler)}, ops.Options{})
	if err != nil {
		return nil, err
	}
	return tenants.New(tenants.Deps{Pool: pool, Sealer: sealer, Audit: audit.New(pool), Ops: engine}, tenants.Options{}), nil
}
