package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	hours = time.Hour
	days  = 24 * time.Hour
)

func TestSubscription_BeginsWithThePayment(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	v := c.subscription(p)
	require.Equal(t, client.ID, v.TenantID)
	require.Equal(t, billing.SubscriptionActive, v.Status)
	require.True(t, v.AutoRenew)
	require.Equal(t, c.start, v.PeriodStart.UTC())
	require.Equal(t, "2026-02-28T10:00:00Z", v.PeriodEnd.UTC().Format(time.RFC3339))
	require.Equal(t, int64(1_500_000), v.NextKobo)
	require.Equal(t, "4081", v.Card.Last4)
	require.Zero(t, c.count(`payment_authorizations WHERE encode(code, 'escape') LIKE '%AUTH%'`), "sealed")
	require.Zero(t, c.count(`operations WHERE state::text LIKE '%AUTH\_%'`))
	require.Equal(t, 1, c.count(`invoices`))
	c.balanced()
}

func TestRenew_ByCard(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.pass(27*days, 12*hours)
	require.Equal(t, 1, c.count(`payments`))
	require.Equal(t, 1, c.count(`notices WHERE kind = 'payment.reminder'`))
	c.pass(days, 12*hours)
	for range 3 {
		c.run()
	}
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND charged AND status = 'success'`))
	require.Equal(t, 2, c.count(`payments`))
	require.Equal(t, "2026-03-31T10:00:00Z", c.subscription(p).PeriodEnd.UTC().Format(time.RFC3339), "from the old end, at the anchor's day")
	c.pass(31*days, 12*hours)
	require.Equal(t, "2026-04-30T10:00:00Z", c.subscription(p).PeriodEnd.UTC().Format(time.RFC3339))
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, 3, c.count(`invoices`))
	c.balanced()
}

// All the way down: four attempts, suspended, scheduled for deletion, gone.
func TestDunning_ToTheEnd(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
	end := c.subscription(p).PeriodEnd
	attempts := func() int { return c.count(`payments WHERE charged AND status = 'failed'`) }
	for _, tc := range []struct {
		day, attempts int
		state         tenants.State
	}{
		{0, 1, tenants.Active},
		{1, 2, tenants.Active},
		{2, 2, tenants.Active},
		{3, 3, tenants.Active},
		{6, 3, tenants.Active},
		{7, 4, tenants.Suspended},
		{27, 4, tenants.Suspended},
		{28, 4, tenants.Scheduled},
	} {
		c.pass(end.Add(time.Duration(tc.day)*days).Sub(c.clock()), 12*hours)
		require.Equal(t, tc.attempts, attempts(), "day %d", tc.day)
		require.Equal(t, tc.state, c.state(client.ID), "day %d", tc.day)
	}
	require.Equal(t, 4, c.count(`notices WHERE kind = 'payment.failed' AND data ->> 'link' LIKE 'http%'`))
	require.Equal(t, 1, c.count(`notices WHERE kind = 'subscription.suspended'`))
	require.Equal(t, 1, c.count(`notices WHERE kind = 'subscription.deletion_scheduled'`))
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status)
	tenant, err := c.tenants.ByID(t.Context(), client.ID)
	require.NoError(t, err)
	require.Equal(t, c.clock().Add(72*hours), tenant.DeletionScheduledAt.UTC())
	c.balanced()
}

func TestDunning_PayingRestoresAtOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		day  int
		was  tenants.State
	}{{"asked", 2, tenants.Active}, {"suspended", 10, tenants.Suspended}, {"scheduled", 29, tenants.Scheduled}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			p, client := c.customer("")
			c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
			end := c.subscription(p).PeriodEnd
			c.pass(end.Add(time.Duration(tc.day)*days).Sub(c.clock()), 12*hours)
			require.Equal(t, tc.was, c.state(client.ID))
			payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic"})
			require.NoError(t, err)
			c.pay(payment.Reference)
			require.Equal(t, tenants.Active, c.state(client.ID))
			v := c.subscription(p)
			require.Equal(t, billing.SubscriptionActive, v.Status)
			require.Equal(t, end, v.PeriodStart)
			require.Nil(t, v.SuspendedAt)

			c.pay(func() string { // an older link for the same period
				var reference string
				require.NoError(t, c.pool.QueryRow(t.Context(), `SELECT reference FROM payments WHERE purpose = 'renewal' AND status <> 'success'
					AND NOT charged ORDER BY id LIMIT 1`).Scan(&reference))
				return reference
			}())
			require.Equal(t, 1, c.count(`credits WHERE reason LIKE 'the period from % is paid already'`))
			require.Equal(t, v.PeriodEnd, c.subscription(p).PeriodEnd)
			c.balanced()
		})
	}
}

func TestRenew_WithoutACard(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer(cash) // not reusable
	require.Nil(t, c.subscription(p).Card)
	c.pass(28*days, 12*hours)
	require.Equal(t, 1, c.count(`notices WHERE kind = 'payment.due' AND data ->> 'link' LIKE 'http%'`))
	c.pay(c.link())
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	require.Equal(t, "4081", c.subscription(p).Card.Last4, "the card of the link is the card from now on")
	require.Equal(t, tenants.Active, c.state(client.ID))
	c.balanced()
}

// The gateway took the money, and its answer was lost.
func TestRenew_LostAnswer(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	c.pass(27*days+20*hours, 12*hours)
	c.dropWebhooks()
	c.fault(simulator.Fault{Kind: simulator.APIDrop, Route: "charge", Times: 1})
	c.gateway.breakDown(errDown)
	c.pass(5*hours, 5*hours)
	require.Equal(t, 1, c.count(`payments WHERE charged AND status = 'pending'`))
	c.pass(12*hours, hours)
	require.Equal(t, 1, c.count(`payments WHERE charged`), "nothing else is charged before the outcome is known")
	require.Zero(t, c.count(`notices WHERE kind = 'payment.failed'`))
	c.gateway.breakDown(nil)
	c.pass(hours, hours)
	require.Equal(t, 1, c.count(`payments WHERE charged AND status = 'success'`))
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	c.balanced()
}

// The charge never arrived: it is made again, and nobody is told that a card failed.
func TestRenew_LostRequest(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	c.pass(27*days+20*hours, 12*hours)
	c.fault(simulator.Fault{Kind: simulator.APIDrop, Route: "charge", Before: true, Times: 1})
	c.pass(8*hours, hours)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	require.Equal(t, 2, c.count(`payments WHERE charged AND attempt = 1`))
	require.Zero(t, c.count(`notices WHERE kind = 'payment.failed'`))
	c.balanced()
}

// Time in which the job didn't run, or the gateway was down, isn't the customer's lateness.
func TestDunning_LostTimeDoesNotCount(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
	end := c.subscription(p).PeriodEnd
	c.pass(end.Add(4*days).Sub(c.clock()), 12*hours)
	require.Equal(t, 3, c.count(`payments WHERE charged`))
	c.sim.Advance(20 * days) // nothing runs
	c.advance(20 * days)
	c.run()
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, 3, c.count(`payments WHERE charged`))
	require.Equal(t, 1, c.count(`billing_gaps`))
	c.pass(2*days, 12*hours)
	require.Equal(t, tenants.Active, c.state(client.ID))
	c.pass(days+12*hours, 12*hours)
	require.Equal(t, 4, c.count(`payments WHERE charged`))
	require.Equal(t, tenants.Suspended, c.state(client.ID))
}

func TestChangePlan_UpgradeByCard(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.pass(14*days, 12*hours)
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", true)
	require.NoError(t, err)
	require.Equal(t, int64(1_500_000), change.AmountKobo, "half of 28 days of 30,000 naira more")
	require.Equal(t, 1, c.count(`payments`), "a preview does nothing")
	change, err = c.ChangePlan(t.Context(), p, c.ip, "acme", "business", false)
	require.NoError(t, err)
	require.Equal(t, billing.PlanChanged, change.Outcome)
	c.settled()
	tenant, err := c.tenants.ByID(t.Context(), client.ID)
	require.NoError(t, err)
	require.Equal(t, "business", tenant.PlanID)
	require.Equal(t, 1, c.count(`operations WHERE kind = 'tenant.resize'`))
	v := c.subscription(p)
	require.Equal(t, int64(4_500_000), v.NextKobo)
	require.Equal(t, "2026-02-28T10:00:00Z", v.PeriodEnd.UTC().Format(time.RFC3339))
	c.balanced()
}

func TestChangePlan_UpgradeByLink(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
	first, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
	require.NoError(t, err)
	require.Equal(t, billing.PlanPaymentRequired, first.Outcome)
	require.NotEmpty(t, first.AuthorizationURL)
	second, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
	require.NoError(t, err)
	require.Equal(t, "basic", c.planOf(client.ID), "charged first, then resized")
	c.pay(second.Reference)
	require.Equal(t, "business", c.planOf(client.ID))
	c.pay(first.Reference)
	require.Equal(t, 1, c.count(`credits WHERE reason = 'paid for a change from plan basic, but the client has business'`))
	c.balanced()
}

func (c *calendar) planOf(id tenants.ID) string {
	c.t.Helper()
	tenant, err := c.tenants.ByID(c.t.Context(), id)
	require.NoError(c.t, err)
	return tenant.PlanID
}

func TestChangePlan_Downgrade(t *testing.T) {
	t.Parallel()
	c, p, client := onPlan(t, "business", "")
	_, err := c.pool.Exec(t.Context(), `INSERT INTO tenant_disks (tenant_id, database_bytes, filestore_bytes, measured_at) VALUES ($1, $2, $3, now())`,
		client.ID, int64(2)<<30, int64(10)<<30)
	require.NoError(t, err)
	_, err = c.ChangePlan(t.Context(), p, c.ip, "", "basic", false)
	require.ErrorIs(t, err, billing.ErrDowngradeTooSmall)
	require.ErrorContains(t, err, "uses 12.00 GB")
	require.ErrorContains(t, err, "has 10 GB")
	_, err = c.pool.Exec(t.Context(), `UPDATE tenant_disks SET filestore_bytes = 0`)
	require.NoError(t, err)
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "basic", false)
	require.NoError(t, err)
	require.Equal(t, billing.PlanScheduled, change.Outcome)
	require.Equal(t, "business", c.planOf(client.ID))
	c.pass(28*days, 12*hours)
	require.Equal(t, "basic", c.planOf(client.ID))
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND amount_kobo = 1500000 AND status = 'success'`))
	c.balanced()
}

func TestChangePlan_DowngradeThatNoLongerFits(t *testing.T) {
	t.Parallel()
	c, p, client := onPlan(t, "business", "")
	_, err := c.ChangePlan(t.Context(), p, c.ip, "", "basic", false)
	require.NoError(t, err)
	_, err = c.pool.Exec(t.Context(), `INSERT INTO tenant_disks (tenant_id, database_bytes, filestore_bytes, measured_at) VALUES ($1, $2, 0, now())`,
		client.ID, int64(12)<<30)
	require.NoError(t, err)
	c.pass(28*days, 12*hours)
	require.Equal(t, "business", c.planOf(client.ID))
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND amount_kobo = 4500000 AND status = 'success'`))
	require.Equal(t, 1, c.count(`notices WHERE kind = 'subscription.plan_kept'`))
}

func TestCancelAndReactivate(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	end := c.subscription(p).PeriodEnd
	sub, err := c.Cancel(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	require.Equal(t, billing.SubscriptionCancelled, sub.Status)
	_, err = c.Reactivate(t.Context(), p, c.ip, "acme")
	require.NoError(t, err)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	_, err = c.Reactivate(t.Context(), p, c.ip, "")
	require.ErrorIs(t, err, billing.ErrNotCancelled)
	_, err = c.Cancel(t.Context(), p, c.ip, "acme")
	require.NoError(t, err)

	c.pass(end.Add(-time.Hour).Sub(c.clock()), 12*hours)
	require.Equal(t, tenants.Active, c.state(client.ID), "it is paid until the end")
	c.pass(2*hours, hours)
	require.Equal(t, tenants.Scheduled, c.state(client.ID))
	require.Equal(t, 1, c.count(`payments`), "nothing is charged")
	_, err = c.Reactivate(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	require.Equal(t, tenants.Suspended, c.state(client.ID), "kept, but not paid for")
	payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.NoError(t, err)
	c.pay(payment.Reference)
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, end, c.subscription(p).PeriodStart)
	c.balanced()
}

func TestCancel_EndsWithTheClient(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	_, err := c.Cancel(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	c.pass(28*days+hours, 12*hours)
	boss := p
	boss.Admin = true
	_, err = c.tenants.Delete(t.Context(), boss, c.ip, client.Name, tenants.DeleteInput{})
	require.NoError(t, err)
	c.settled()
	c.pass(2*hours, hours)
	require.Equal(t, 1, c.count(`subscriptions WHERE status = 'ended' AND next_action_at IS NULL`))
	_, err = c.SubscriptionOf(t.Context(), p, "")
	require.ErrorIs(t, err, billing.ErrNoSubscription)
}

func TestInitialize_NotBeforeItIsDue(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	_, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.ErrorIs(t, err, billing.ErrPaidUp)
	c.pass(20*days, 12*hours)
	_, err = c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "business", ClientName: "acme"})
	require.ErrorIs(t, err, billing.ErrPlanMismatch)
	payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.NoError(t, err)
	c.pay(payment.Reference)
	require.Equal(t, "2026-03-31T10:00:00Z", c.subscription(p).PeriodEnd.UTC().Format(time.RFC3339))
	c.pass(10*days, 12*hours)
	require.Equal(t, 2, c.count(`payments`), "paid early, so nothing is charged")
}

func TestRekey(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	c.customer("")
	sealer, err := secrets.NewSealer("another-key-another-key-another-key," + dataKey)
	require.NoError(t, err)
	n, err := billing.RekeyCards(t.Context(), c.pool, sealer)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	only, err := secrets.NewSealer("another-key-another-key-another-key")
	require.NoError(t, err)
	c.deps.Sealer = only
	c.Service = billing.New(c.deps, billing.Options{GatewayTimeout: 5 * time.Second})
	c.pass(28*days, 12*hours)
	require.Equal(t, 1, c.count(`payments WHERE charged AND status = 'success'`))
}

func TestSummaries(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	_, err := c.Summaries(t.Context(), p)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	p.Admin = true
	list, err := c.Summaries(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, []billing.Summary{{Currency: "NGN", MonthlyKobo: 1_395_349, Active: 1, ReceivedKobo: 1_500_000}}, list)
	c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
	c.pass(29*days, 12*hours)
	list, err = c.Summaries(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, 1, list[0].PastDue)
	require.Equal(t, int64(1_500_000), list[0].OverdueKobo)
	all, total, err := c.AllSubscriptions(t.Context(), p, billing.SubscriptionPastDue, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.Equal(t, "acme", all[0].TenantName)
}
