package provision_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/capacity"
	"controlplane/internal/notices"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// meters are an engine and a database server that tell what a test wants to hear.
type meters struct {
	mu         sync.Mutex
	containers map[string]provision.ContainerStats
	volumes    map[string]int64
	databases  map[string]int64
	lines      []string
	tail       int
	broken     error  // of the database server
	damaged    string // database that can't be measured
	now        time.Time
}

func (m *meters) ContainerStats(_ context.Context, name string) (provision.ContainerStats, bool, error) {
	c, ok := m.containers[name]
	return c, ok, nil
}

func (m *meters) ContainerLogs(_ context.Context, _ string, q provision.LogQuery, line func(provision.LogLine) error) error {
	m.tail = q.Tail
	for _, text := range m.lines {
		if err := line(provision.LogLine{Stream: "stderr", Text: text}); err != nil {
			return err
		}
	}
	return nil
}

func (m *meters) Host(context.Context) (provision.Host, error) {
	return provision.Host{
		EngineID: "engine", Name: "vm", EngineVersion: "28.0", Cores: 2, CPUPercent: 12.5, MemoryBytes: 24 << 30, MemoryUsedBytes: 6 << 30,
		DiskBytes: 100 << 30, DiskUsedBytes: 25 << 30, ContainersRunning: 7,
	}, nil
}

func (m *meters) VolumeSizes(context.Context) (map[string]int64, error) { return m.volumes, nil }

func (m *meters) DatabaseSize(_ context.Context, name string) (int64, error) {
	if name == m.damaged {
		return 0, errors.New("invalid page in block 7")
	}
	return m.databases[name], m.broken
}

func (m *meters) Load(context.Context) (provision.DatabaseLoad, error) {
	if m.broken != nil {
		return provision.DatabaseLoad{}, m.broken
	}
	return provision.DatabaseLoad{MaxConnections: 397, Connections: 11}, nil
}

func (m *meters) clock() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

func (m *meters) advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}

type gauged struct {
	*provision.Gauge
	*bundle
	meters   *meters
	capacity *capacity.Service
}

func setupGauge(t *testing.T) *gauged {
	t.Helper()
	b, _ := setup(t)
	m := &meters{
		containers: map[string]provision.ContainerStats{}, volumes: map[string]int64{}, databases: map[string]int64{},
		now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	}
	c := capacity.New(capacity.Deps{Pool: b.pool, Tenants: b.tenants}, capacity.Options{})
	g, err := provision.NewGauge(provision.GaugeDeps{
		Pool: b.pool, Tenants: b.tenants, Capacity: c, Meter: m, Databases: m, Log: b.log, Now: m.clock,
	}, provision.GaugeOptions{Supernet: netip.MustParsePrefix("10.99.0.0/16")})
	require.NoError(t, err)
	return &gauged{Gauge: g, bundle: b, meters: m, capacity: c}
}

// active makes a tenant that was provisioned.
func (g *gauged) active(t *testing.T, name, plan string) tenants.Tenant {
	t.Helper()
	tenant := g.paid(t, name, plan)
	require.NoError(t, postgres.InTx(t.Context(), g.pool, func(tx pgx.Tx) error {
		return errors.Join(g.tenants.MintSecretsTx(t.Context(), tx, tenant.ID),
			g.tenants.ActivateTx(t.Context(), tx, tenant.ID, tenants.Endpoint{Address: netip.MustParseAddr("10.99.0.66"), HTTPPort: 8069, EventPort: 8069}))
	}))
	return g.now(t, tenant.ID)
}

func (g *gauged) now(t *testing.T, id tenants.ID) tenants.Tenant {
	t.Helper()
	tenant, err := g.tenants.ByID(t.Context(), id)
	require.NoError(t, err)
	return tenant
}

// measure lets a tenant have so many MiB, half of them in the database.
func (g *gauged) measure(t *testing.T, tenant tenants.Tenant, megabytes int64) {
	t.Helper()
	g.meters.databases[tenant.DBName] = megabytes << 19
	g.meters.volumes["odoo_"+tenant.Name+"_data"] = megabytes << 19
	require.NoError(t, g.MeasureDisks(t.Context()))
}

func (g *gauged) told(t *testing.T, id tenants.ID) []notices.Kind {
	t.Helper()
	list, err := notices.List(t.Context(), g.pool, notices.Filter{TenantID: id})
	require.NoError(t, err)
	kinds := make([]notices.Kind, 0, len(list))
	for _, n := range list {
		kinds = append(kinds, n.Kind)
	}
	return kinds
}

func TestMeasureDisks_QuotaFromTheFirstWarningToTheEnd(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	acme := g.active(t, "acme", "basic") // 10 GB
	g.measure(t, acme, 8191)
	require.Equal(t, 8191, g.now(t, acme.ID).DiskUsageMB)
	require.Empty(t, g.told(t, acme.ID))
	g.measure(t, acme, 8192)
	g.measure(t, acme, 8192)
	require.Equal(t, []notices.Kind{provision.NoticeDiskWarning}, g.told(t, acme.ID))
	g.meters.advance(time.Hour)
	g.measure(t, acme, 10240)
	g.meters.advance(time.Hour)
	g.measure(t, acme, 12289)
	list, err := notices.List(t.Context(), g.pool, notices.Filter{TenantID: acme.ID, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, provision.NoticeDiskOver, list[0].Kind)
	require.Equal(t, acme.AccountID, list[0].AccountID)
	require.Equal(t, map[string]any{
		"client": "acme", "used_mb": 12289.0, "quota_mb": 10240.0, "percent": 120.0, "suspend_at": "2026-03-15T14:00:00Z",
	}, list[0].Data)

	g.meters.advance(14*24*time.Hour - time.Second)
	g.measure(t, acme, 12289)
	require.Equal(t, tenants.WantsActive, g.now(t, acme.ID).Desired)
	g.meters.advance(time.Second)
	g.measure(t, acme, 12289)
	suspended := g.now(t, acme.ID)
	require.Equal(t, tenants.WantsSuspended, suspended.Desired)
	require.Equal(t, tenants.ByQuota, suspended.SuspendedBy)
	require.Equal(t, "It takes 12.0 GiB of disk; its plan has 10.", suspended.SuspendReason)
	_, err = g.tenants.Resume(t.Context(), owner(acme), netip.MustParseAddr("192.0.2.7"), "acme")
	require.ErrorIs(t, err, tenants.ErrSuspendedByOther)
	g.meters.advance(30 * 24 * time.Hour)
	g.measure(t, acme, 12289)
	require.Equal(t, []notices.Kind{
		provision.NoticeDiskSuspended, provision.NoticeDiskOver, provision.NoticeDiskFull, provision.NoticeDiskWarning,
	}, g.told(t, acme.ID))

	_, err = g.pool.Exec(t.Context(), "UPDATE tenants SET plan_id = 'business' WHERE id = $1", acme.ID) // as an administrator's change does
	require.NoError(t, err)
	g.measure(t, acme, 12289)
	require.Equal(t, tenants.WantsActive, g.now(t, acme.ID).Desired)
	require.Equal(t, provision.NoticeDiskResumed, g.told(t, acme.ID)[0])
}

func TestMeasureDisks_OneThatFailsDoesntStopTheOthers(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	first, second := g.active(t, "first", "basic"), g.active(t, "second", "basic")
	g.measure(t, first, 100)
	g.measure(t, second, 100)
	g.meters.damaged = first.DBName
	g.meters.databases[second.DBName] = 300 << 20
	delete(g.meters.volumes, "odoo_second_data")
	require.ErrorContains(t, g.MeasureDisks(t.Context()), "tenant "+first.ID.String())
	require.Equal(t, 350, g.now(t, second.ID).DiskUsageMB, "what can't be measured is as it was")
}

func TestStats(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	acme := g.active(t, "acme", "basic")
	empty, err := g.Stats(t.Context(), acme)
	require.NoError(t, err)
	require.Equal(t, tenants.Stats{State: tenants.Active, Containers: []tenants.ContainerStats{}}, empty)

	g.measure(t, acme, 100)
	g.meters.databases[acme.DBName] = 7
	g.meters.containers["odoo_acme"] = provision.ContainerStats{Name: "odoo_acme", Status: "running"}
	stats, err := g.Stats(t.Context(), acme)
	require.NoError(t, err)
	require.Len(t, stats.Containers, 1)
	require.Equal(t, int64(7), stats.Disk.DatabaseBytes, "live")
	require.Equal(t, int64(50<<20), stats.Disk.FilestoreBytes)

	g.meters.broken = errors.New("connection refused")
	stats, err = g.Stats(t.Context(), acme)
	require.NoError(t, err)
	require.Equal(t, int64(50<<20), stats.Disk.DatabaseBytes, "as it was measured last")
}

func TestLogs_WithoutSecrets(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	acme := g.active(t, "acme", "basic")
	known, err := g.tenants.Secrets(t.Context(), acme.ID)
	require.NoError(t, err)
	g.meters.lines = []string{
		"boot", fmt.Sprintf("a %s b %s c %s", known.DBPassword.Reveal(), known.MasterPassword.Reveal(), known.AdminPassword.Reveal()),
	}
	var got []string
	collect := func(l tenants.LogLine) error {
		got = append(got, l.Text)
		return nil
	}
	require.NoError(t, g.Logs(t.Context(), acme, tenants.LogQuery{}, collect))
	require.Equal(t, []string{"boot", "a [redacted] b [redacted] c [redacted]"}, got)
	require.Equal(t, tenants.DefaultLogTail, g.meters.tail)
	require.NoError(t, g.Logs(t.Context(), acme, tenants.LogQuery{Tail: 1 << 30}, collect))
	require.Equal(t, tenants.MaxLogTail, g.meters.tail)
	boom := errors.New("boom")
	require.ErrorIs(t, g.Logs(t.Context(), acme, tenants.LogQuery{}, func(tenants.LogLine) error { return boom }), boom)
}

func TestSample(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	acme := g.active(t, "acme", "basic")
	_, err := g.pool.Exec(t.Context(), `INSERT INTO tenant_subnets (subnet, tenant_id, released_at) VALUES
		('10.99.0.64/28', $1, NULL), ('10.99.0.80/28', NULL, now()), ('10.99.0.96/28', NULL, now() - interval '2 days')`, acme.ID)
	require.NoError(t, err)
	require.NoError(t, g.Sample(t.Context()))
	m, err := g.capacity.Metrics(t.Context())
	require.NoError(t, err)
	require.Equal(t, capacity.CPU{Percent: 12.5, Count: 2}, m.CPU)
	require.Equal(t, capacity.Share{TotalGB: 24, UsedGB: 6, Percent: 25}, m.Memory)
	require.Equal(t, capacity.Share{TotalGB: 100, UsedGB: 25, Percent: 25}, m.Disk)
	require.Equal(t, capacity.Count{Total: 377, Used: 11}, m.Connections)
	require.Equal(t, capacity.Count{Total: 4092, Used: 2}, m.Subnets, "one in use, one resting")
	require.Equal(t, 7, m.Containers)

	g.meters.broken = errors.New("connection refused")
	require.NoError(t, g.Sample(t.Context()), "the rest is worth knowing")
	m, err = g.capacity.Metrics(t.Context())
	require.NoError(t, err)
	require.Zero(t, m.Connections)
	require.Equal(t, 2, m.CPU.Count)
}

func TestNewGauge_RefusesHalfOfIt(t *testing.T) {
	t.Parallel()
	_, err := provision.NewGauge(provision.GaugeDeps{}, provision.GaugeOptions{})
	require.ErrorContains(t, err, "lacks a dependency")
}

func TestGauge_DoesntTakeAnothersForADeletedOnes(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	acme := g.active(t, "acme", "basic")
	acme.State = tenants.Deleted
	g.meters.containers["odoo_acme"] = provision.ContainerStats{Name: "odoo_acme"}
	g.meters.lines = []string{"of the next who has that name"}
	stats, err := g.Stats(t.Context(), acme)
	require.NoError(t, err)
	require.Empty(t, stats.Containers)
	require.NoError(t, g.Logs(t.Context(), acme, tenants.LogQuery{}, func(l tenants.LogLine) error { return errors.New(l.Text) }))
}
