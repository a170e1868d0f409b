//go:build bench

package backup_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

const (
	windowClients  = 500
	windowParallel = 2 // BACKUP_PARALLEL, the limit
	probeEvery     = 100 * time.Millisecond
)

// shared lets all clients have one's database and files: the work is that of hundreds, the room that of one.
type shared struct {
	backup.Database
	backup.Volumes
	plant *plant
}

func (s shared) Snapshot(ctx context.Context, a backup.Access) (backup.Snapshot, error) {
	of := s.plant.odoo.Access()
	a.Database, a.Role, a.Password = of.Database, of.Role, of.Password
	return s.Database.Snapshot(ctx, a)
}

func (s shared) MountVolume(ctx context.Context, name, _, _, image string, readOnly bool) error {
	volume, _ := provision.Filestore(s.plant.tenant)
	return s.Volumes.MountVolume(ctx, name, volume, s.plant.tenant.ID.String(), image, readOnly)
}

func (s shared) ReadTree(ctx context.Context, name, path string) (io.ReadCloser, error) {
	_, dir := provision.Filestore(s.plant.tenant)
	if parts := strings.SplitN(path, "/", 3); len(parts) == 3 {
		dir += "/" + parts[2]
	}
	return s.Volumes.ReadTree(ctx, name, dir)
}

// probe asks what a tenant's page might, as long as ctx lasts, and how many of the server's connections work for backups meanwhile.
func (p *plant) probe(ctx context.Context) (took []time.Duration, most int) {
	conn, err := pgx.Connect(ctx, pgtest.ServerURL(p.T))
	require.NoError(p, err)
	defer func() { _ = conn.Close(context.Background()) }()
	for tick := time.NewTicker(probeEvery); ; {
		select {
		case <-ctx.Done():
			return took, most
		case <-tick.C:
		}
		var busy int
		began := time.Now()
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'backup' AND state = 'active'").Scan(&busy)
		if err == nil {
			took, most = append(took, time.Since(began)), max(most, busy)
		}
	}
}

func quantiles(took []time.Duration) string {
	took = slices.Sorted(slices.Values(took))
	return fmt.Sprintf("p50 %v, p99 %v", took[len(took)/2].Round(100*time.Microsecond), took[len(took)*99/100].Round(100*time.Microsecond))
}

// All are due at once, as after a night in which nothing worked.
func TestBenchWindow(t *testing.T) {
	p := build(t)
	p.install()
	all := shared{p.database, p.engine, p}
	p.database, p.volumes = all, all
	tomorrow := func() time.Time { return time.Now().Add(26 * time.Hour) }
	log := slog.New(slog.DiscardHandler)
	desk, err := ops.New(ops.Deps{Pool: p.pool, Log: log}, ops.Options{})
	require.NoError(t, err)
	p.backups, err = backup.New(backup.Deps{Pool: p.pool, Ops: desk, Tenants: p.tenants, Now: tomorrow}, backup.Options{Prefix: "clients/"})
	require.NoError(t, err)
	for range windowClients - 1 {
		p.active("w-" + secrets.RandomHex(5))
	}
	p.start()
	planner, err := backup.NewPlanner(backup.PlannerDeps{Pool: p.pool, Backups: p.backups, Log: log, Now: tomorrow}, backup.PlannerOptions{Parallel: windowParallel})
	require.NoError(t, err)

	quiet, stop := context.WithTimeout(t.Context(), 5*time.Second)
	before, _ := p.probe(quiet)
	stop()
	t.Logf("load before: %s", load(t))
	var during []time.Duration
	var most int
	ctx, stop := context.WithCancel(t.Context())
	var probes sync.WaitGroup
	probes.Go(func() { during, most = p.probe(ctx) })
	began := time.Now()
	asked, err := planner.TakeDue(t.Context())
	require.NoError(t, err)
	require.Equal(t, windowClients, asked)
	var good int
	require.Eventually(t, func() bool {
		require.NoError(t, p.pool.QueryRow(t.Context(), "SELECT count(*) FROM backups WHERE state = 'done'").Scan(&good))
		return good == windowClients
	}, 2*time.Hour, 250*time.Millisecond)
	took := time.Since(began)
	stop()
	probes.Wait()
	page, err := p.backups.List(t.Context(), backup.Filter{Limit: 1})
	require.NoError(t, err)
	b := page.Backups[0]
	t.Logf("load after: %s", load(t))
	t.Logf("%d clients due at once (each a fresh Odoo: database %d MB, stored %d MB), %d at a time: %.0f s, %.2f s each", windowClients, b.DatabaseBytes>>20,
		b.StoredBytes>>20, windowParallel, took.Seconds(), took.Seconds()/windowClients)
	t.Logf("connections of the tenants' server that worked for backups: at most %d; a question to it took %s before, %s meanwhile", most, quantiles(before), quantiles(during))
}
