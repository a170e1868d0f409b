package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/tenants"
)

// heldBack is a customer with a card whose bank decides about the renewal's charge only after a time.
func heldBack(t *testing.T, decides time.Duration) (*calendar, accounts.Principal, tenants.Tenant) {
	t.Helper()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.pass(28*days-hours, 12*hours)
	c.fault(simulator.Fault{Kind: simulator.ChargePending, Delay: simulator.Duration(decides), Times: 1})
	c.pass(hours, hours)
	require.Equal(t, 1, c.charges())
	return c, p, client
}

func (c *calendar) links() int {
	c.t.Helper()
	return c.count(`payments WHERE purpose = 'renewal' AND authorization_url IS NOT NULL`)
}

// A charge that stays undecided at its bank keeps the rest of dunning waiting for half a day and no longer. The card isn't charged again while
// the first charge may yet succeed: its owner gets a link.
func TestUndecided_GetsALink(t *testing.T) {
	t.Parallel()
	c, p, client := heldBack(t, 1000*hours)
	c.pass(10*hours, hours)
	require.Zero(t, c.links(), "it is waited for")
	c.pass(4*hours, hours)
	require.Equal(t, 1, c.links())
	require.Equal(t, 1, c.count(`notices WHERE kind = 'payment.due' AND (data ->> 'card_undecided')::boolean`))
	c.pass(4*days, 12*hours)
	require.Equal(t, 1, c.charges(), "attempts go on, by links, even after the reference is closed")
	require.Equal(t, 3, c.count(`notices WHERE kind = 'payment.due'`))
	c.pay(c.link())
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)

	c.pass(40*days, 24*hours)
	require.Equal(t, 1, c.count(`credits WHERE resolution IS NULL AND reason LIKE '%paid already%'`), "the bank decides at last: that is a second payment")
	require.Equal(t, 1, c.alerts("payment.unused"))
	require.Equal(t, tenants.Active, c.state(client.ID))
	c.balanced()
	require.Zero(t, c.reconcile().Differences)
}

// One that fails after it was given up on is over: the next attempt charges the card. One that succeeds is all there is.
func TestUndecided_IsDecidedAfterAll(t *testing.T) {
	t.Parallel()
	for name, declined := range map[string]bool{"declined": true, "paid": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, p, _ := heldBack(t, 20*hours)
			if declined {
				c.fault(simulator.Fault{Kind: simulator.ChargeDecline, Times: 1})
			}
			c.pass(14*hours, hours)
			require.Equal(t, 1, c.links())
			c.dropWebhooks()
			c.pass(12*hours, hours)
			require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status, "without a word from the gateway")
			require.Equal(t, map[bool]int{true: 2, false: 1}[declined], c.charges())
			require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND status = 'success'`))
			require.Zero(t, c.count(`credits`))
			c.balanced()
		})
	}
}

// How long is waited is set by whoever runs it; the state at the gateway is read once more before a link is sent.
func TestUndecided_WaitIsSettable(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	c.Service = billing.New(c.deps, billing.Options{GatewayTimeout: 5 * time.Second, RunGap: 13 * hours, ChargeWait: 3 * hours})
	p, _ := c.customer("")
	c.pass(28*days-hours, 12*hours)
	c.dropWebhooks()
	c.fault(simulator.Fault{Kind: simulator.ChargePending, Delay: simulator.Duration(2 * hours), Times: 1})
	c.pass(hours, hours)
	c.exec(`UPDATE payments SET next_check_at = NULL WHERE status = 'pending'`) // the poller hasn't got round to it
	c.sim.Advance(4 * hours)
	c.advance(4 * hours)
	_, err := c.Renew(t.Context())
	require.NoError(t, err)
	require.Zero(t, c.links())
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
}

// Two workers that look after the same subscription charge its card once.
func TestCharge_OnceByTwoWorkers(t *testing.T) {
	t.Parallel()
	c, _, _ := heldBack(t, 1000*hours)
	c.exec(`UPDATE payments SET status = 'failed', gateway_status = '', next_check_at = NULL WHERE charged`) // as one that never got there
	c.exec(`UPDATE subscriptions SET next_action_at = $1`, c.clock())
	c.fault(simulator.Fault{Kind: simulator.ChargePending, Delay: simulator.Duration(1000 * hours)})
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, err := c.Renew(t.Context())
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Equal(t, 1, c.count(`payments WHERE charged AND status = 'pending'`))
}

// Credit that would pay for the period isn't spent beside a charge that may yet succeed; it waits, and pays once that has failed.
func TestUndecided_NoCreditBesides(t *testing.T) {
	t.Parallel()
	c, p, _ := heldBack(t, 30*hours)
	c.fault(simulator.Fault{Kind: simulator.ChargeDecline, Times: 1})
	c.pass(14*hours, hours)
	c.has(p, 2_000_000)
	_, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.ErrorIs(t, err, billing.ErrUpgradeUnderWay)
	c.pass(12*hours, hours)
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status)
	c.pass(12*hours, hours)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	require.Equal(t, int64(500_000), c.subscription(p).CreditKobo)
	require.Equal(t, 1, c.charges())
	c.balanced()
}

// A charge that the gateway isn't even asked about any more, and whose bank never said no, keeps credit from paying no longer.
func TestUndecided_CreditPaysOnceTheChargeIsGivenUp(t *testing.T) {
	t.Parallel()
	c, p, client := heldBack(t, 10_000*hours)
	c.pass(2*days, 12*hours)
	c.has(p, 2_000_000)
	c.run()
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status, "the card may still pay")
	c.pass(3*days, 12*hours)
	require.Zero(t, c.count(`payments WHERE charged AND status = 'pending'`))
	v := c.subscription(p)
	require.Equal(t, billing.SubscriptionActive, v.Status)
	require.Equal(t, int64(500_000), v.CreditKobo)
	require.Equal(t, 1, c.charges())
	require.Equal(t, tenants.Active, c.state(client.ID))
	c.balanced()
}

// upgrading is a customer with a card whose bank takes its time over an upgrade that was asked for in the period's last hours.
func upgrading(t *testing.T) (*calendar, accounts.Principal, string) {
	t.Helper()
	c := setupCalendar(t)
	p, _ := c.customer("")
	c.pass(28*days-3*hours, 12*hours)
	c.fault(simulator.Fault{Kind: simulator.ChargePending, Delay: simulator.Duration(30 * hours), Times: 1})
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
	require.NoError(t, err)
	require.Equal(t, billing.PlanPending, change.Outcome)
	return c, p, change.Reference
}

func (c *calendar) byHand(p accounts.Principal) (billing.Payment, error) {
	return c.Initialize(c.t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
}

// Who wants to pay needn't wait for an upgrade's charge once the period that it was for is over: it can't pay for the next one. Before that it
// may still bring the larger plan, which is then the one to be paid.
func TestUndecided_UpgradeKeepsNobodyFromPaying(t *testing.T) {
	t.Parallel()
	c, p, upgrade := upgrading(t)
	_, err := c.byHand(p)
	require.ErrorIs(t, err, billing.ErrUpgradeUnderWay)
	c.pass(4*hours, hours)
	payment, err := c.byHand(p)
	require.NoError(t, err)
	c.pay(payment.Reference)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)

	c.pass(2*days, 12*hours)
	require.Equal(t, billing.StatusSuccess, c.payment(upgrade).Status)
	require.Equal(t, 1, c.count(`credits WHERE resolution IS NULL AND reason LIKE '%is over'`))
	require.Equal(t, 1, c.alerts("payment.unused"))
	require.Equal(t, "basic", c.subscription(p).PlanID)
	c.balanced()
}

// Nobody reads that a payment failed when nothing was asked of the card, since it can't be while the upgrade's charge is open.
func TestUndecided_UpgradeIsNoFailedPayment(t *testing.T) {
	t.Parallel()
	c, p, _ := upgrading(t)
	c.pass(16*hours, hours)
	require.Equal(t, 1, c.count(`notices WHERE kind = 'payment.due' AND data ->> 'link' LIKE 'http%'`))
	require.Zero(t, c.count(`notices WHERE kind = 'payment.failed'`))
	c.pass(3*days, 12*hours)
	require.Zero(t, c.count(`notices WHERE kind = 'payment.failed'`))
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status, "by card, with the next attempt")
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND status = 'success' AND charged`))
	c.balanced()
}

// A charge that took another amount waits for a person, however long. Its owner may pay meanwhile; while the bank may still decide they may not,
// as that would be paid twice.
func TestUndecided_OneInReviewKeepsNobodyFromPaying(t *testing.T) {
	t.Parallel()
	c, p, client := heldBack(t, 2*hours)
	_, err := c.byHand(p)
	require.ErrorIs(t, err, billing.ErrUpgradeUnderWay)
	c.fault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 1_400_000, Times: 1})
	c.pass(3*hours, hours)
	require.Equal(t, 1, c.alerts("payment.review"))
	var parked string
	require.NoError(t, c.pool.QueryRow(t.Context(), `SELECT reference FROM payments WHERE charged AND review IS NOT NULL`).Scan(&parked))
	payment, err := c.byHand(p)
	require.NoError(t, err)
	c.pay(payment.Reference)
	paid := c.subscription(p)
	require.Equal(t, billing.SubscriptionActive, paid.Status)

	c.back(p, parked, 0, nil)
	require.Equal(t, paid.PeriodEnd, c.subscription(p).PeriodEnd)
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, 1, c.charges())
	c.balanced()
	require.Zero(t, c.reconcile().Differences)
}
