package billing_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// cash is a card that can't be charged again.
const cash = "507850785078507812"

const gatewayKey = "sk_test_simulator_key"

// bundle is a Service on a database of its own, with a real queue, and a simulated Paystack that delivers to it.
type bundle struct {
	*billing.Service
	t       testing.TB
	pool    *pgxpool.Pool
	tenants *tenants.Service
	ops     *ops.Engine
	sim     *simulator.Simulator
	gateway *gateway
	hook    string // the webhook's address
	ip      netip.Addr
	log     *slog.Logger
	deps    billing.Deps

	provisioner func() error // nil: works

	mu     sync.Mutex
	now    time.Time
	shared *simulator.Clock // the time when it isn't nil
}

// gateway is the real client, with answers that a test may change.
type gateway struct {
	*paystack.Client
	mu     sync.Mutex
	change func(*billing.Transaction)
	down   error
}

func (g *gateway) Verify(ctx context.Context, reference string) (billing.Transaction, error) {
	g.mu.Lock()
	change, down := g.change, g.down
	g.mu.Unlock()
	if down != nil {
		return billing.Transaction{}, down
	}
	t, err := g.Client.Verify(ctx, reference)
	if err == nil && change != nil {
		change(&t)
	}
	return t, err
}

func (g *gateway) alter(change func(*billing.Transaction)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.change = change
}

func (g *gateway) breakDown(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.down = err
}

func setup(tb testing.TB) *bundle {
	tb.Helper()
	b := setupIdle(tb)
	require.NoError(tb, b.ops.Start(tb.Context()))
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(tb, b.ops.Stop(ctx))
	})
	return b
}

// setupIdle is setup with nobody working on the queue.
func setupIdle(tb testing.TB) *bundle {
	tb.Helper()
	level := slog.LevelWarn
	if _, measuring := tb.(*testing.B); measuring { // figures are all that is to be read then
		level = slog.LevelError
	}
	b := &bundle{
		t: tb, log: slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: level})), pool: pgtest.New(tb),
		ip: netip.MustParseAddr("192.0.2.7"), now: time.Now().UTC().Truncate(time.Microsecond),
	}
	b.startSimulator()
	b.wire()
	return b
}

func (b *bundle) startSimulator() {
	b.t.Helper()
	hook := httptest.NewServer(http.HandlerFunc(b.receive))
	b.t.Cleanup(hook.Close)
	b.hook = hook.URL
	sim, err := simulator.New(simulator.Options{SecretKeys: []secrets.Secret{gatewayKey}, WebhookURL: hook.URL})
	require.NoError(b.t, err)
	server := httptest.NewServer(sim.Handler())
	b.t.Cleanup(func() {
		sim.Close()
		server.CloseClientConnections()
		server.Close()
	})
	client, err := paystack.New(paystack.Options{SecretKeys: []secrets.Secret{gatewayKey}, BaseURL: server.URL, RetryPause: time.Millisecond})
	require.NoError(b.t, err)
	b.sim, b.gateway = sim, &gateway{Client: client}
}

func (b *bundle) wire() {
	b.t.Helper()
	sealer, err := secrets.NewSealer("0123456789abcdef0123456789abcdef")
	require.NoError(b.t, err)
	records := audit.New(b.pool)
	b.ops, err = ops.New(ops.Deps{Pool: b.pool, Log: b.log}, ops.Options{Backoff: func(int) time.Duration { return 20 * time.Millisecond }})
	require.NoError(b.t, err)
	b.tenants = tenants.New(tenants.Deps{Pool: b.pool, Sealer: sealer, Audit: records, Ops: b.ops, Now: b.clock}, tenants.Options{})
	b.ops.Register(ops.Workflow{Kind: "tenant.provision", Steps: []ops.Step{{Name: "wait", Tx: func(context.Context, pgx.Tx, *ops.Run) error { return nil }}}})
	b.deps = billing.Deps{
		Pool: b.pool, Tenants: b.tenants, Ops: b.ops, Gateway: b.gateway, Provisioner: provisioner{b}, Audit: records, Log: b.log, Now: b.clock,
	}
	b.Service = billing.New(b.deps, billing.Options{CallbackURL: "http://localhost/payment/callback", GatewayTimeout: 2 * time.Second})
	b.Register()
}

// provisioner only enqueues; making tenants is another package's.
type provisioner struct{ b *bundle }

func (p provisioner) EnqueueTx(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	if p.b.provisioner != nil {
		if err := p.b.provisioner(); err != nil {
			return err
		}
	}
	_, err := p.b.ops.EnqueueTx(ctx, tx, "tenant.provision", id.Subject(), nil)
	return err
}

// receive is the webhook route, as thin as the real one.
func (b *bundle) receive(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	err := b.ReceiveWebhook(r.Context(), body, r.Header.Get("X-Paystack-Signature"))
	if err != nil {
		b.log.Warn("refuse an event", "error", err)
	}
	switch errs.KindOf(err) {
	case errs.Unauthenticated:
		w.WriteHeader(http.StatusUnauthorized)
	case errs.Unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}
}

func (b *bundle) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shared != nil {
		return b.shared.Now()
	}
	return b.now
}

func (b *bundle) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func (b *bundle) account(name string) accounts.Principal {
	b.t.Helper()
	p := accounts.Principal{Username: name, Email: name + "@example.com"}
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, p.Email, name).Scan(&p.AccountID))
	return p
}

func (b *bundle) client(p accounts.Principal, name, plan string) tenants.Tenant {
	b.t.Helper()
	t, err := b.tenants.Create(b.t.Context(), p, b.ip, tenants.CreateInput{Name: name, Email: p.Email, PlanID: plan})
	require.NoError(b.t, err)
	return t
}

// checkout opens a payment for a client.
func (b *bundle) checkout(p accounts.Principal, t tenants.Tenant) billing.Payment {
	b.t.Helper()
	payment, err := b.Initialize(b.t.Context(), p, b.ip, billing.InitializeInput{PlanID: t.PlanID, BillingCycle: "monthly", ClientName: t.Name})
	require.NoError(b.t, err)
	return payment
}

// purchase is one account with one unpaid basic client and an open checkout.
func (b *bundle) purchase() (accounts.Principal, tenants.Tenant, billing.Payment) {
	b.t.Helper()
	p := b.account("ada")
	t := b.client(p, "acme", "basic")
	return p, t, b.checkout(p, t)
}

// dropWebhooks leaves finding out to verify and the poller.
func (b *bundle) dropWebhooks() {
	b.t.Helper()
	require.NoError(b.t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookDrop}))
}

func (b *bundle) payment(reference string) billing.Payment {
	b.t.Helper()
	var p billing.Payment
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT status, purpose, coalesce(review, ''), gateway_status FROM payments WHERE reference = $1`,
		reference).Scan(&p.Status, &p.Purpose, &p.Review, &p.GatewayStatus))
	return p
}

func (b *bundle) state(id tenants.ID) tenants.State {
	b.t.Helper()
	t, err := b.tenants.ByID(b.t.Context(), id)
	require.NoError(b.t, err)
	return t.State
}

func (b *bundle) count(from string, args ...any) int {
	b.t.Helper()
	var n int
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT count(*) FROM `+from, args...).Scan(&n))
	return n
}

// settled waits until everything that was delivered has been applied.
func (b *bundle) settled() {
	b.t.Helper()
	require.NoError(b.t, b.sim.Settle(b.t.Context()))
	b.eventually(func() bool {
		return b.count(`payment_events WHERE applied_at IS NULL`)+b.count(`operations WHERE finished_at IS NULL AND state <> 'held'`) == 0
	})
}

func (b *bundle) eventually(check func() bool) {
	b.t.Helper()
	require.Eventually(b.t, check, 15*time.Second, 10*time.Millisecond)
}

// activatedOnce checks all that one activation consists of, and that there is no second one.
func (b *bundle) activatedOnce(id tenants.ID, reference string) {
	b.t.Helper()
	t, err := b.tenants.ByID(b.t.Context(), id)
	require.NoError(b.t, err)
	require.Equal(b.t, tenants.Provisioning, t.State)
	require.Equal(b.t, "success", t.PaymentStatus)
	require.Equal(b.t, reference, t.PaymentReference)
	require.NotNil(b.t, t.PaidAt)
	require.Equal(b.t, 1, b.count(`operations WHERE kind = 'tenant.provision' AND subject = $1`, id.Subject()))
	require.Equal(b.t, 1, b.count(`tenant_events WHERE tenant_id = $1 AND to_state = 'provisioning'`, id))
	require.Equal(b.t, 1, b.count(`payments WHERE tenant_id = $1 AND status = 'success' AND purpose = 'activation'`, id))
}

// untouched checks that nothing was activated.
func (b *bundle) untouched(id tenants.ID) {
	b.t.Helper()
	require.Equal(b.t, tenants.Pending, b.state(id))
	require.Zero(b.t, b.count(`operations WHERE kind = 'tenant.provision'`))
	require.Zero(b.t, b.count(`payments WHERE tenant_id = $1 AND status = 'success'`, id))
	require.Zero(b.t, b.count(`credits`))
}

var errDown = errors.New("connection refused")
