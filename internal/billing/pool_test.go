package billing_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
	"controlplane/internal/billing"
	"controlplane/internal/invoicing"
	"controlplane/internal/tenants"
)

// onOneConnection is the calendar's service again, with a single connection: whoever wants a second one while holding it waits for themselves, as ten
// at once would wait for each other.
func (c *calendar) onOneConnection() *billing.Service {
	c.t.Helper()
	cfg := c.pool.Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = 1, 0, 0
	pool, err := pgxpool.NewWithConfig(c.t.Context(), cfg)
	require.NoError(c.t, err)
	c.t.Cleanup(pool.Close)
	deps := c.deps
	records := audit.New(pool)
	deps.Pool, deps.Audit = pool, records
	deps.Tenants = tenants.New(tenants.Deps{Pool: pool, Sealer: c.sealer, Audit: records, Ops: c.ops, Now: c.clock}, tenants.Options{})
	deps.Invoices = invoicing.New(invoicing.Deps{Pool: pool, Audit: records, Now: c.clock}, invoicing.Options{})
	return billing.New(deps, billing.Options{CallbackURL: "http://localhost/payment/callback", GatewayTimeout: 5 * time.Second, RunGap: 13 * hours})
}

// Nobody asks for a second connection while a transaction is open: reminders, links, charges, changes of plan, payments by hand, suspension, deletion
// and refunds.
func TestTransactions_NeedOneConnectionEach(t *testing.T) {
	t.Parallel()
	c, p, client := onPlan(t, "basic", cash)
	c.dropWebhooks()
	one := c.onOneConnection()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	look := func(d, every time.Duration) {
		for range d / every {
			c.sim.Advance(every)
			c.advance(every)
			require.NoError(t, one.Poll(ctx))
			_, err := one.Renew(ctx)
			require.NoError(t, err)
			c.settled()
		}
	}
	change, err := one.ChangePlan(ctx, p, c.ip, "", "business", false)
	require.NoError(t, err)
	c.pay(change.Reference)
	require.NoError(t, one.Settle(ctx, change.Reference))
	require.Equal(t, "business", c.planOf(client.ID))
	root := p
	root.Admin = true
	order, err := one.Refund(ctx, root, c.ip, billing.RefundInput{Reference: change.Reference, Reason: "goodwill"})
	require.NoError(t, err)
	require.NoError(t, c.sim.FinishRefund(order.GatewayID, "processed"))
	c.advance(hours)
	require.NoError(t, one.PollRefunds(ctx))
	require.Equal(t, "basic", c.planOf(client.ID))
	_, err = one.ChangePlan(ctx, p, c.ip, "", "business", false)
	require.NoError(t, err)
	look(29*days, 24*hours)
	c.exec(`UPDATE subscriptions SET next_plan_id = 'business'`)
	payment, err := one.Initialize(ctx, p, c.ip, billing.InitializeInput{PlanID: "business", ClientName: "acme"})
	require.NoError(t, err)
	require.NoError(t, c.sim.Pay(payment.Reference, ""))
	require.NoError(t, one.Settle(ctx, payment.Reference))
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	look(31*days, 24*hours)
	require.Equal(t, 1, c.charges())
	_, err = one.Reconcile(ctx)
	require.NoError(t, err)
	_, err = one.Summaries(ctx, root)
	require.NoError(t, err)
	c.balanced()
}
