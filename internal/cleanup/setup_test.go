package cleanup_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/cleanup"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// bundle is a platform database with all that sweeps work on, and a clock that stands still until it is moved.
type bundle struct {
	t       testing.TB
	pool    *pgxpool.Pool
	log     *slog.Logger
	ops     *ops.Engine // only enqueues
	tenants *tenants.Service
	money   *money
	records *audit.Log
	ip      netip.Addr
	admin   accounts.Principal

	mu  sync.Mutex
	now time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return setupOn(t, pgtest.New(t))
}

func setupOn(tb testing.TB, pool *pgxpool.Pool) *bundle {
	tb.Helper()
	b := &bundle{
		t: tb, pool: pool, log: slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelError})), money: &money{},
		records: audit.New(pool), ip: netip.MustParseAddr("192.0.2.7"), now: time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC),
	}
	b.ops = b.engine()
	sealer, err := secrets.NewSealer("0123456789abcdef0123456789abcdef")
	require.NoError(tb, err)
	b.tenants = tenants.New(tenants.Deps{Pool: pool, Sealer: sealer, Audit: b.records, Ops: b.ops, Now: b.clock}, tenants.Options{MaxUnpaid: 100_000})
	b.admin = b.account("root")
	b.admin.Admin = true
	return b
}

func (b *bundle) engine() *ops.Engine {
	b.t.Helper()
	e, err := ops.New(ops.Deps{Pool: b.pool, Log: b.log}, ops.Options{
		RescueInterval: 100 * time.Millisecond, FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
		Backoff: func(int) time.Duration { return time.Millisecond },
	})
	require.NoError(b.t, err)
	return e
}

// service returns a Service of another process, as it were, on an engine that isn't started.
func (b *bundle) service(sweeps ...cleanup.Sweep) (*cleanup.Service, *ops.Engine) {
	b.t.Helper()
	e := b.engine()
	s := cleanup.New(cleanup.Deps{
		Pool: b.pool, Ops: e, Tenants: b.tenants, Money: b.money, Audit: b.records, Log: b.log, Now: b.clock,
	}, cleanup.Options{Tick: 10 * time.Millisecond})
	s.Add(sweeps...)
	s.Register()
	return s, e
}

// started returns a Service whose worker runs until the test ends.
func (b *bundle) started(sweeps ...cleanup.Sweep) *cleanup.Service {
	b.t.Helper()
	s, e := b.service(sweeps...)
	b.start(e)
	return s
}

func (b *bundle) start(e *ops.Engine) {
	b.t.Helper()
	require.NoError(b.t, e.Start(b.t.Context()))
	b.t.Cleanup(func() { b.stop(e) })
}

func (b *bundle) stop(e *ops.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(b.t, e.Stop(ctx))
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

func (b *bundle) account(name string) accounts.Principal {
	b.t.Helper()
	p := accounts.Principal{Username: name, Email: name + "@example.test"}
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, p.Email, name).Scan(&p.AccountID))
	return p
}

// client makes an unpaid client.
func (b *bundle) client(p accounts.Principal, name string) tenants.Tenant {
	b.t.Helper()
	t, err := b.tenants.Create(b.t.Context(), p, b.ip, tenants.CreateInput{Name: name, Email: p.Email, PlanID: "basic"})
	require.NoError(b.t, err)
	return t
}

// active makes a client that was paid for and runs.
func (b *bundle) active(p accounts.Principal, name string) tenants.Tenant {
	b.t.Helper()
	t := b.client(p, name)
	b.inTx(func(tx pgx.Tx) error {
		if _, err := b.tenants.MarkPaidTx(b.t.Context(), tx, t.ID, "ref-"+name); err != nil {
			return err
		}
		return b.tenants.ActivateTx(b.t.Context(), tx, t.ID, tenants.Endpoint{
			Address: netip.AddrFrom4([4]byte{10, 77, byte(t.ID >> 8), byte(t.ID)}), HTTPPort: 8069, EventPort: 8069,
		})
	})
	return t
}

// scheduled makes a client that is to be deleted in an hour.
func (b *bundle) scheduled(p accounts.Principal, name string) tenants.Tenant {
	b.t.Helper()
	t := b.active(p, name)
	_, err := b.tenants.ScheduleDeletion(b.t.Context(), b.admin, b.ip, name, 1)
	require.NoError(b.t, err)
	b.exec(`UPDATE operations SET state = 'done', finished_at = now() WHERE subject = $1`, t.ID.Subject()) // it is stopped
	return t
}

func (b *bundle) names(n int, prefix string) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%03d", prefix, i)
	}
	return names
}

func (b *bundle) inTx(fn func(tx pgx.Tx) error) {
	b.t.Helper()
	require.NoError(b.t, postgres.InTx(b.t.Context(), b.pool, fn))
}

func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

func (b *bundle) count(from string, args ...any) int {
	b.t.Helper()
	var n int
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT count(*) FROM `+from, args...).Scan(&n))
	return n
}

func (b *bundle) state(id tenants.ID) tenants.State {
	b.t.Helper()
	t, err := b.tenants.ByID(b.t.Context(), id)
	require.NoError(b.t, err)
	return t.State
}

func (b *bundle) eventually(check func() bool) {
	b.t.Helper()
	require.Eventually(b.t, check, 20*time.Second, 10*time.Millisecond)
}

// money is a payment gateway's word, as a test has it.
type money struct {
	mu     sync.Mutex
	verify func(ctx context.Context, id tenants.ID) (bool, error)
	outage func(from, to time.Time) time.Duration

	extended tenants.ID // whose deletion may wait
}

func (m *money) VerifyOpen(ctx context.Context, id tenants.ID) (bool, error) {
	m.mu.Lock()
	verify := m.verify
	m.mu.Unlock()
	if verify == nil {
		return false, nil
	}
	return verify(ctx, id)
}

func (m *money) ExtendUndo(_ context.Context, id tenants.ID) (bool, error) {
	return m.extended == id, nil
}

func (m *money) OutageBetween(_ context.Context, from, to time.Time) (time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outage == nil {
		return 0, nil
	}
	return m.outage(from, to), nil
}

func (m *money) says(verify func(ctx context.Context, id tenants.ID) (bool, error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.verify = verify
}
