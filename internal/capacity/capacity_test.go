package capacity_test

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/capacity"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// bundle is a Service on a database of its own, with a clock that stands still until it is moved.
type bundle struct {
	*capacity.Service
	t       *testing.T
	pool    *pgxpool.Pool
	account int64
	count   int

	mu  sync.Mutex
	now time.Time
}

func setup(t *testing.T, opts capacity.Options) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t), now: time.Now().UTC()}
	sealer, err := secrets.NewSealer("0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	engine, err := ops.New(ops.Deps{Pool: b.pool, Log: slog.New(slog.DiscardHandler)}, ops.Options{})
	require.NoError(t, err)
	service := tenants.New(tenants.Deps{Pool: b.pool, Sealer: sealer, Audit: audit.New(b.pool), Ops: engine}, tenants.Options{})
	b.Service = capacity.New(capacity.Deps{Pool: b.pool, Tenants: service, Now: b.clock}, opts)
	require.NoError(t, b.pool.QueryRow(t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ('ada@example.test', 'ada', 'ada', 'ada', 'x') RETURNING id`).Scan(&b.account))
	return b
}

func (b *bundle) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bundle) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// tenant inserts one as it is after a life that this package doesn't test.
func (b *bundle) tenant(plan string, state tenants.State, paid bool) tenants.ID {
	b.t.Helper()
	b.count++
	name := fmt.Sprintf("client%d", b.count)
	var id tenants.ID
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, desired, suspended_by, return_state, payment_deadline,
			paid_at, deletion_scheduled_at, deleted_at)
		VALUES ($1, $2, 'odoo_' || $2, $2 || '.test', 'ada@example.test', $3, $4,
			CASE WHEN $4 = 'suspended' THEN 'suspended' WHEN $4 IN ('scheduled_for_deletion', 'deleting', 'deleted') THEN 'deleted' ELSE 'active' END,
			CASE WHEN $4 = 'suspended' THEN 'owner' END, CASE WHEN $4 = 'scheduled_for_deletion' THEN 'pending' END, now(),
			CASE WHEN $5 THEN now() END, CASE WHEN $4 = 'scheduled_for_deletion' THEN now() END, CASE WHEN $4 = 'deleted' THEN now() END)
		RETURNING id`,
		b.account, name, plan, state, paid).Scan(&id))
	return id
}

func (b *bundle) checkout(id tenants.ID, plan, status string, age time.Duration) {
	b.t.Helper()
	b.count++
	_, err := b.pool.Exec(b.t.Context(), `
		INSERT INTO payments (account_id, tenant_id, plan_id, billing_cycle, amount_kobo, currency, mode, email, reference, status, created_at)
		VALUES ($1, $2, $3, 'monthly', 1, 'NGN', 'test', 'ada@example.test', $4, $5, $6)`,
		b.account, id, plan, fmt.Sprint("ref", b.count), status, b.clock().Add(-age))
	require.NoError(b.t, err)
}

// machine is a small one: what "make run" is expected to take ten business clients on.
func machine() capacity.Sample {
	return capacity.Sample{
		EngineID: "engine", Host: "vm", EngineVersion: "28.0", Cores: 2, CPUPercent: 10, MemoryMB: 24 << 10, MemoryUsedMB: 4 << 10,
		DiskMB: 90 << 10, DiskUsedMB: 40 << 10, ContainersRunning: 3, MaxConnections: 377, Connections: 20, Subnets: 4092, SubnetsUsed: 1,
	}
}

func (b *bundle) record(change func(*capacity.Sample)) {
	b.t.Helper()
	s := machine()
	if change != nil {
		change(&s)
	}
	require.NoError(b.t, b.Record(b.t.Context(), s))
}

func (b *bundle) open(kind string) []alerts.Record {
	b.t.Helper()
	list, err := alerts.New(b.pool).List(b.t.Context(), alerts.Filter{Kind: kind, Limit: 100})
	require.NoError(b.t, err)
	return list
}

func TestCheck_ASmallMachineTakesTenBusinessClients(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{})
	b.record(nil)
	for range 10 {
		id := b.tenant("business", tenants.Pending, false)
		require.NoError(t, b.Check(t.Context(), id, "business"))
		_, err := b.pool.Exec(t.Context(), `UPDATE tenants SET state = 'active', paid_at = now() WHERE id = $1`, id)
		require.NoError(t, err)
	}
	require.Empty(t, b.open(""))
}

func TestCheck_RefusesWhatIsLacking(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*capacity.Sample)
		want   string
	}{
		"memory promised":      {func(s *capacity.Sample) { s.MemoryMB = 4096/3 - 1 }, "memory in MiB: 4096 would be promised"},
		"cores unknown":        {func(s *capacity.Sample) { s.Cores, s.CPUPercent = 0, 0 }, ""},
		"disk promised":        {func(s *capacity.Sample) { s.DiskMB, s.DiskUsedMB = 6000, 0 }, "disk in MiB: 25600 would be promised"},
		"connections promised": {func(s *capacity.Sample) { s.MaxConnections, s.Connections = 13, 0 }, "database connections: 40 would be promised"},
		"memory used":          {func(s *capacity.Sample) { s.MemoryUsedMB = 23 << 10 }, "memory in MiB: 23552 of 24576 are used"},
		"disk used":            {func(s *capacity.Sample) { s.DiskUsedMB = 82 << 10 }, "disk in MiB: 83968 of 92160 are used"},
		"connections used":     {func(s *capacity.Sample) { s.Connections = 340 }, "database connections: 340 of 377 are used"},
		"subnets used":         {func(s *capacity.Sample) { s.SubnetsUsed = s.Subnets }, "subnets: 4092 of 4092 are used"},
		"disk unknown":         {func(s *capacity.Sample) { s.DiskMB, s.DiskUsedMB = 0, 0 }, ""},
		"just enough memory":   {func(s *capacity.Sample) { s.MemoryMB, s.MemoryUsedMB = 1366, 0 }, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, capacity.Options{})
			b.record(tt.change)
			err := b.Check(t.Context(), b.tenant("business", tenants.Pending, false), "business")
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, capacity.ErrFull)
			require.ErrorContains(t, err, tt.want)
			var shown *errs.Error
			require.ErrorAs(t, err, &shown)
			require.Equal(t, errs.Unavailable, shown.Kind)
			require.Positive(t, shown.RetryAfter)
			list := b.open(capacity.AlertFull)
			require.Len(t, list, 1)
			require.Equal(t, "plan/business", list[0].Subject)
			require.Contains(t, list[0].Message, tt.want)
		})
	}
}

func TestCheck_CountsWhatIsPromised(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{MemoryOvercommit: 1, CPUOvercommit: 1000, DiskOvercommit: 1000, ConnectionsOvercommit: 1000})
	b.record(func(s *capacity.Sample) { s.MemoryMB, s.MemoryUsedMB = 3*2048, 0 }) // room for three basic clients
	me := b.tenant("basic", tenants.Pending, false)
	fits := func() bool {
		err := b.Check(t.Context(), me, "basic")
		if err != nil {
			require.ErrorIs(t, err, capacity.ErrFull)
		}
		return err == nil
	}
	b.tenant("basic", tenants.Active, true)
	b.checkout(me, "basic", "pending", 0)
	b.tenant("basic", tenants.Pending, false)
	b.tenant("basic", tenants.Deleting, true)
	b.tenant("basic", tenants.Deleted, true)
	b.tenant("basic", tenants.Scheduled, false)
	require.True(t, fits(), "unpaid and deleted ones take no room, and I don't count twice")

	other := b.tenant("basic", tenants.Pending, false)
	b.checkout(other, "basic", "pending", time.Minute)
	b.checkout(other, "basic", "pending", 2*time.Minute)
	require.True(t, fits(), "one client with two open checkouts is one client")

	third := b.tenant("basic", tenants.Pending, false)
	b.checkout(third, "basic", "failed", 0)
	b.checkout(third, "basic", "pending", 2*time.Hour)
	require.True(t, fits(), "failed and old checkouts hold nothing")
	b.checkout(third, "basic", "pending", 59*time.Minute)
	require.False(t, fits())
	b.advance(2 * time.Minute)
	b.record(func(s *capacity.Sample) { s.MemoryMB, s.MemoryUsedMB = 3*2048, 0 })
	require.True(t, fits(), "its hold is over")

	b.tenant("basic", tenants.Suspended, true)
	require.False(t, fits(), "who is stopped may come back")
}

func TestCheck_WithoutFreshSamples(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{})
	id := b.tenant("business", tenants.Pending, false)
	require.NoError(t, b.Check(t.Context(), id, "business"), "nothing is known yet")
	require.Empty(t, b.open(""))

	b.record(func(s *capacity.Sample) { s.MemoryUsedMB = s.MemoryMB })
	require.ErrorIs(t, b.Check(t.Context(), id, "business"), capacity.ErrFull)
	b.advance(10 * time.Minute)
	require.ErrorIs(t, b.Check(t.Context(), id, "business"), capacity.ErrFull)
	require.Empty(t, b.open(capacity.AlertStale))

	b.advance(time.Second)
	require.NoError(t, b.Check(t.Context(), id, "business"), "what was used ten minutes ago doesn't block sales for ever")
	require.Len(t, b.open(capacity.AlertStale), 1)

	require.NoError(t, b.Record(t.Context(), capacity.Sample{EngineID: "engine", Host: "vm", MemoryMB: 1000}))
	require.Empty(t, b.open(capacity.AlertStale), "a worker is back")
	b.advance(time.Hour)
	require.ErrorIs(t, b.Check(t.Context(), id, "business"), capacity.ErrFull, "what is promised doesn't fit, however old the sample")
}

func TestCheck_AddsUpHosts(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{MemoryOvercommit: 1})
	id := b.tenant("enterprise", tenants.Pending, false)
	small := func(engine string) func(*capacity.Sample) {
		return func(s *capacity.Sample) {
			s.EngineID, s.MemoryMB, s.MemoryUsedMB = engine, 5000, 0
		}
	}
	b.record(small("one"))
	require.ErrorIs(t, b.Check(t.Context(), id, "enterprise"), capacity.ErrFull)
	b.record(small("two"))
	require.NoError(t, b.Check(t.Context(), id, "enterprise"))
	m, err := b.Metrics(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, m.Hosts)
	require.Equal(t, 4, m.CPU.Count)
	require.Equal(t, 377, m.Connections.Total, "they share one database server")
	b.advance(11 * time.Minute)
	b.record(small("two"))
	require.ErrorIs(t, b.Check(t.Context(), id, "enterprise"), capacity.ErrFull, "the first is gone")
}

func TestReview_ClosesAlerts(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{})
	id := b.tenant("basic", tenants.Pending, false)
	b.record(func(s *capacity.Sample) { s.MemoryUsedMB = s.MemoryMB })
	require.ErrorIs(t, b.Check(t.Context(), id, "basic"), capacity.ErrFull)
	require.ErrorIs(t, b.Check(t.Context(), id, "basic"), capacity.ErrFull)
	require.NoError(t, b.Review(t.Context()))
	list := b.open(capacity.AlertFull)
	require.Len(t, list, 1)
	require.Equal(t, 2, list[0].Count)
	b.record(nil)
	require.NoError(t, b.Review(t.Context()))
	require.Empty(t, b.open(capacity.AlertFull))
}

func TestCheck_UnknownPlan(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{})
	require.ErrorIs(t, b.Check(t.Context(), 1, "gold"), tenants.ErrUnknownPlan)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{})
	m, err := b.Metrics(t.Context())
	require.NoError(t, err)
	require.Equal(t, capacity.Metrics{}, m)

	b.record(nil)
	b.tenant("basic", tenants.Active, true)
	b.tenant("basic", tenants.Suspended, true)
	b.tenant("basic", tenants.Deleted, true)
	m, err = b.Metrics(t.Context())
	require.NoError(t, err)
	require.Equal(t, capacity.Metrics{
		SampledAt: b.clock().Truncate(time.Microsecond), Hosts: 1, CPU: capacity.CPU{Percent: 10, Count: 2},
		Memory: capacity.Share{TotalGB: 24, UsedGB: 4, Percent: 16.67}, Disk: capacity.Share{TotalGB: 90, UsedGB: 40, Percent: 44.44},
		Containers: 3, Connections: capacity.Count{Total: 377, Used: 20}, Subnets: capacity.Count{Total: 4092, Used: 1},
		Clients: capacity.Clients{Total: 2, Active: 1},
	}, m)
	b.advance(11 * time.Minute)
	m, err = b.Metrics(t.Context())
	require.NoError(t, err)
	require.True(t, m.Stale)
}

// What comes and goes is judged by what is used.
func TestLacking(t *testing.T) {
	t.Parallel()
	b := setup(t, capacity.Options{})
	lacking := func(memoryMB, diskMB int64) []string {
		list, err := b.Lacking(t.Context(), memoryMB, diskMB)
		require.NoError(t, err)
		return list
	}
	require.Empty(t, lacking(1<<40, 1<<40), "nothing was measured")
	b.record(nil)
	require.Empty(t, lacking(2048, 10<<10))
	require.Equal(t, []string{"memory in MiB: 4096 of 24576 are used, and 20480 more would be"}, lacking(20<<10, 10<<10))
	require.Len(t, lacking(20<<10, 90<<10), 2)
	b.advance(11 * time.Minute)
	require.Empty(t, lacking(20<<10, 90<<10), "nobody knows any more")
}
