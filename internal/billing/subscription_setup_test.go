package billing_test

import (
	"context"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/invoicing"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// calendar is a bundle whose time, the gateway's too, moves only when told, and whose tenants become at once what they are to be.
type calendar struct {
	*bundle
	sealer *secrets.Sealer
	start  time.Time
}

const dataKey = "0123456789abcdef0123456789abcdef"

func setupCalendar(tb testing.TB) *calendar {
	tb.Helper()
	b := setupIdle(tb)
	start := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	b.now = start
	sealer, err := secrets.NewSealer(dataKey)
	require.NoError(tb, err)
	c := &calendar{bundle: b, sealer: sealer, start: start}
	c.gatewayInTime()
	c.wireAll()
	require.NoError(tb, b.ops.Start(tb.Context()))
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		require.NoError(tb, b.ops.Stop(ctx))
	})
	return c
}

func (c *calendar) gatewayInTime() {
	sim, err := simulator.New(simulator.Options{
		SecretKeys: []secrets.Secret{gatewayKey}, WebhookURL: c.hook, Clock: simulator.NewVirtualClock(c.start), Seed: 7,
	})
	require.NoError(c.t, err)
	server := httptest.NewServer(sim.Handler())
	c.t.Cleanup(func() {
		sim.Close()
		server.CloseClientConnections()
		server.Close()
	})
	client, err := paystack.New(paystack.Options{SecretKeys: []secrets.Secret{gatewayKey}, BaseURL: server.URL, RetryPause: time.Millisecond})
	require.NoError(c.t, err)
	c.sim, c.gateway = sim, &gateway{Client: client}
}

func (c *calendar) wireAll() {
	records := audit.New(c.pool)
	var err error
	c.ops, err = ops.New(ops.Deps{Pool: c.pool, Log: c.log}, ops.Options{Backoff: func(int) time.Duration { return 20 * time.Millisecond }})
	require.NoError(c.t, err)
	c.tenants = tenants.New(tenants.Deps{Pool: c.pool, Sealer: c.sealer, Audit: records, Ops: c.ops, Now: c.clock}, tenants.Options{})
	for kind, end := range c.ends() {
		c.ops.Register(ops.Workflow{Kind: kind, Preemptible: kind != tenants.ProvisionKind && kind != tenants.DeleteKind, Steps: []ops.Step{{
			Name: "all", Tx: func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
				var in tenants.OperationInput
				if err := r.Input(&in); err != nil {
					return err
				}
				return end(ctx, tx, in.TenantID)
			},
		}}})
	}
	c.deps = billing.Deps{
		Pool: c.pool, Tenants: c.tenants, Ops: c.ops, Gateway: c.gateway, Provisioner: enqueuer{c}, Audit: records, Log: c.log, Now: c.clock,
		Sealer: c.sealer, Invoices: invoicing.New(invoicing.Deps{Pool: c.pool, Audit: records, Now: c.clock}, invoicing.Options{}),
	}
	c.Service = billing.New(c.deps, billing.Options{CallbackURL: "http://localhost/payment/callback", GatewayTimeout: 5 * time.Second, RunGap: 13 * time.Hour})
	c.Register()
}

// ends are what operations on tenants come to, without the world that they change.
func (c *calendar) ends() map[string]func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	endpoint := tenants.Endpoint{Address: netip.MustParseAddr("10.9.8.7"), HTTPPort: 8069, EventPort: 8072}
	return map[string]func(ctx context.Context, tx pgx.Tx, id tenants.ID) error{
		tenants.ProvisionKind: func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
			return c.tenants.ActivateTx(ctx, tx, id, endpoint)
		},
		tenants.SuspendKind: c.tenants.MarkSuspendedTx,
		tenants.ResumeKind: func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
			return c.tenants.MarkResumedTx(ctx, tx, id, endpoint)
		},
		tenants.StopKind:   func(context.Context, pgx.Tx, tenants.ID) error { return nil },
		tenants.ResizeKind: c.resized(endpoint),
		tenants.DeleteKind: c.tenants.MarkDeletedTx,
	}
}

// resized does what was put off when a resize took the place of something else, as the real one does.
func (c *calendar) resized(ep tenants.Endpoint) func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	return func(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
		t, err := c.tenants.Lock(ctx, tx, id)
		if err != nil {
			return err
		}
		switch {
		case t.State == tenants.Active && t.Desired == tenants.WantsSuspended:
			return c.tenants.MarkSuspendedTx(ctx, tx, id)
		case t.State == tenants.Suspended && t.Desired == tenants.WantsActive:
			return c.tenants.MarkResumedTx(ctx, tx, id, ep)
		}
		return nil
	}
}

type enqueuer struct{ c *calendar }

func (e enqueuer) EnqueueTx(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	_, err := e.c.ops.EnqueueTx(ctx, tx, tenants.ProvisionKind, id.Subject(), tenants.OperationInput{TenantID: id})
	return err
}

// pass lets time go by, and has what is due done every so often, at the end too.
func (c *calendar) pass(d, every time.Duration) {
	c.t.Helper()
	for left := d; left > 0; left -= every {
		step := min(every, left)
		c.sim.Advance(step)
		c.advance(step)
		c.run()
	}
}

// run does what the schedules do.
func (c *calendar) run() {
	c.t.Helper()
	require.NoError(c.t, c.Poll(c.t.Context()))
	_, err := c.Renew(c.t.Context())
	require.NoError(c.t, err)
	c.settled()
}

// customer is one account with one client that was paid for with a card, or by other means.
func (c *calendar) customer(card string) (accounts.Principal, tenants.Tenant) {
	c.t.Helper()
	p, client, payment := c.purchase()
	require.NoError(c.t, c.sim.Pay(payment.Reference, card))
	c.settled()
	require.Equal(c.t, tenants.Active, c.state(client.ID))
	return p, client
}

// onPlan is a calendar with one account, whose one client of a plan was paid for with a card ("": a usual one).
func onPlan(t *testing.T, plan, card string) (*calendar, accounts.Principal, tenants.Tenant) {
	t.Helper()
	c := setupCalendar(t)
	p := c.account("ada")
	client := c.client(p, "acme", plan)
	require.NoError(t, c.sim.Pay(c.checkout(p, client).Reference, card))
	c.settled()
	return c, p, client
}

// withCredit is a calendar with one account that has credit and no client yet.
func withCredit(t *testing.T, kobo int64) (*calendar, accounts.Principal) {
	t.Helper()
	c := setupCalendar(t)
	p := c.account("ada")
	c.has(p, kobo)
	return c, p
}

func (c *calendar) subscription(p accounts.Principal) billing.SubscriptionView {
	c.t.Helper()
	v, err := c.SubscriptionOf(c.t.Context(), p, "")
	require.NoError(c.t, err)
	return v
}

func (c *calendar) fault(f simulator.Fault) {
	c.t.Helper()
	require.NoError(c.t, c.sim.AddFault(f))
}

// link is the newest checkout that was opened.
func (c *calendar) link() string {
	c.t.Helper()
	var reference string
	require.NoError(c.t, c.pool.QueryRow(c.t.Context(), `SELECT reference FROM payments WHERE authorization_url IS NOT NULL ORDER BY id DESC LIMIT 1`).Scan(&reference))
	return reference
}

func (c *calendar) pay(reference string) {
	c.t.Helper()
	require.NoError(c.t, c.sim.Pay(reference, ""))
	c.settled()
}

// balanced checks the books and that nobody was charged twice for a period.
func (c *calendar) balanced() {
	c.t.Helper()
	require.Zero(c.t, c.count(`(SELECT entry_id FROM ledger_lines GROUP BY entry_id HAVING sum(debit_kobo) <> sum(credit_kobo)) AS x`))
	require.Zero(c.t, c.count(`(SELECT subscription_id, period_start FROM payments WHERE status = 'success' AND purpose IN ('activation', 'renewal')
		GROUP BY 1, 2 HAVING count(*) > 1) AS x`))
	require.Zero(c.t, c.count(`payments p WHERE status = 'success' AND purpose <> 'credit' AND NOT EXISTS (SELECT FROM invoices i WHERE i.payment_id = p.id)`))
	require.Zero(c.t, c.count(`(SELECT a.name FROM ledger_lines l JOIN ledger_accounts a ON a.id = l.ledger_account_id WHERE a.name LIKE 'receivable/%'
			AND NOT EXISTS (SELECT FROM refunds r JOIN payments p ON p.id = r.payment_id
				WHERE 'receivable/' || p.account_id = a.name AND r.state IN ('pending', 'needs_attention'))
		GROUP BY 1 HAVING sum(debit_kobo) <> sum(credit_kobo)) AS x`), "all that is invoiced is paid, but for what is just being given back")
}
