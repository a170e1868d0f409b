package billing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// back is a refund that has gone through; end nil is the default.
func (c *calendar) back(p accounts.Principal, reference string, kobo int64, end *bool) billing.RefundOrder {
	c.t.Helper()
	p.Admin = true
	got, err := c.Refund(c.t.Context(), p, c.ip, billing.RefundInput{Reference: reference, AmountKobo: kobo, Reason: "goodwill", End: end})
	require.NoError(c.t, err)
	if !got.ToCredit {
		require.NoError(c.t, c.sim.FinishRefund(got.GatewayID, "processed"))
	}
	c.settled()
	c.pass(2*hours, hours)
	return got
}

func (c *calendar) first() string {
	c.t.Helper()
	var reference string
	require.NoError(c.t, c.pool.QueryRow(c.t.Context(), `SELECT reference FROM payments WHERE purpose = 'activation' ORDER BY id LIMIT 1`).Scan(&reference))
	return reference
}

// What was paid for ends with the money's return: the client is suspended, no card is charged again, and it lives if it is paid for anew.
func TestRefund_InFullEndsWhatItPaidFor(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.pass(10*days, 12*hours)
	got := c.back(p, c.first(), 0, nil)
	require.True(t, got.Ends)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	v := c.subscription(p)
	require.Equal(t, billing.SubscriptionPastDue, v.Status)
	require.WithinDuration(t, c.clock(), v.PeriodEnd, 3*hours)
	require.Equal(t, 1, c.count(`notices WHERE kind = 'subscription.ended'`))
	require.Equal(t, 1, c.count(`notices WHERE kind = 'subscription.suspended'`))
	ended := v.PeriodEnd

	c.pass(5*days, 12*hours)
	require.Zero(t, c.charges(), "nobody charges a card for what was given back")
	payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.NoError(t, err)
	c.pay(payment.Reference)
	require.Equal(t, tenants.Active, c.state(client.ID))
	v = c.subscription(p)
	require.Equal(t, ended, v.PeriodStart)
	require.True(t, billing.Next(ended, ended, billing.Monthly).Equal(v.PeriodEnd), "a whole month")
	require.Zero(t, c.reconcile().Differences)
}

// Unpaid from then on, it goes the way of all that is unpaid.
func TestRefund_EndedIsGivenUpInTheEnd(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.back(p, c.first(), 0, nil)
	c.pass(20*days, 12*hours)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	c.pass(2*days, 12*hours)
	require.Equal(t, tenants.Scheduled, c.state(client.ID))
	require.Zero(t, c.charges())
}

// An administrator says what ends: a gift leaves what was paid for, and a part can end it.
func TestRefund_WhetherItEndsIsForAdministrators(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kobo int64
		end  *bool
		ends bool
	}{
		"all, by default":       {0, nil, true},
		"all, said in full":     {1_500_000, nil, true},
		"all, as a gift":        {0, new(false), false},
		"a part, by default":    {500_000, nil, false},
		"a part that ends it":   {500_000, new(true), true},
		"a part, as it was ask": {500_000, new(false), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			p, client := c.customer("")
			end := c.subscription(p).PeriodEnd
			require.Equal(t, tc.ends, c.back(p, c.first(), tc.kobo, tc.end).Ends)
			if tc.ends {
				require.Equal(t, tenants.Suspended, c.state(client.ID))
				return
			}
			require.Equal(t, tenants.Active, c.state(client.ID))
			require.Equal(t, end, c.subscription(p).PeriodEnd)
		})
	}
}

// A payment of a period that is over, or that hasn't begun, takes nothing from the present one.
func TestRefund_OfAnotherPeriod(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.pass(29*days, 12*hours)
	end := c.subscription(p).PeriodEnd
	c.back(p, c.first(), 0, nil)
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, end, c.subscription(p).PeriodEnd)

	c.pass(20*days, 12*hours)
	early, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.NoError(t, err)
	c.pay(early.Reference)
	require.NotEqual(t, end, c.subscription(p).PeriodEnd)
	c.back(p, early.Reference, 0, nil)
	v := c.subscription(p)
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, billing.SubscriptionActive, v.Status)
	require.Equal(t, end, v.PeriodEnd)
	require.Equal(t, "2026-02-28T10:00:00Z", v.PeriodStart.UTC().Format("2006-01-02T15:04:05Z07:00"))
	c.pass(11*days, 12*hours)
	require.Equal(t, 2, c.count(`payments WHERE purpose = 'renewal' AND status = 'success'`), "the period is paid again")
	require.Equal(t, end, c.subscription(p).PeriodStart)
}

// An upgrade that is given back leaves the former plan, unless that has become too small.
func TestRefund_OfAnUpgrade(t *testing.T) {
	t.Parallel()
	for _, fits := range []bool{true, false} {
		c := setupCalendar(t)
		p, client := c.customer("")
		change, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
		require.NoError(t, err)
		require.Equal(t, billing.PlanChanged, change.Outcome)
		if !fits {
			c.exec(`INSERT INTO tenant_disks (tenant_id, database_bytes, filestore_bytes, measured_at) VALUES ($1, $2, 0, now())`, client.ID, int64(12)<<30)
		}
		c.back(p, change.Reference, 0, nil)
		require.Equal(t, tenants.Active, c.state(client.ID))
		require.Equal(t, map[bool]string{true: "basic", false: "business"}[fits], c.planOf(client.ID))
		require.Equal(t, map[bool]int{true: 0, false: 1}[fits], c.alerts("refund.plan_kept"))
	}
}

// A bank that takes all of a payment back ends what it paid for, and is told of; a part doesn't.
func TestDispute_LostEndsWhatWasPaid(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	id, err := c.sim.OpenDispute(c.first(), "fraud", 0)
	require.NoError(t, err)
	c.run()
	require.Equal(t, tenants.Active, c.state(client.ID), "nothing is decided")
	require.NoError(t, c.sim.DecideDispute(id, true))
	c.settled()
	c.pass(2*hours, hours)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	require.Equal(t, 1, c.alerts("dispute.lost"))
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status)
	c.pass(8*days, 12*hours)
	require.Zero(t, c.charges())

	d := setupCalendar(t)
	_, client = d.customer("")
	id, err = d.sim.OpenDispute(d.first(), "fraud", 400_000)
	require.NoError(t, err)
	require.NoError(t, d.sim.DecideDispute(id, true))
	d.settled()
	d.pass(2*hours, hours)
	require.Equal(t, tenants.Active, d.state(client.ID))
	require.Zero(t, d.alerts("dispute.lost"))
}

// One that its owner had cancelled is over at once, with the notice and the time that this has.
func TestRefund_OfACancelledSubscription(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	_, err := c.Cancel(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	c.back(p, c.first(), 0, nil)
	require.Equal(t, tenants.Scheduled, c.state(client.ID))
	_, err = c.Reactivate(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
}

// What came from credit is credit again: alone, and with the rest that came from a card.
func TestRefund_OfCredit(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 2_000_000)
	client := c.client(p, "acme", "basic")
	payment := c.checkout(p, client)
	c.settled()
	root := p
	root.Admin = true
	_, err := c.refund(root, payment.Reference, 5, "a part")
	require.ErrorIs(t, err, billing.ErrRefundWhole)
	got := c.back(p, payment.Reference, 0, nil)
	require.True(t, got.ToCredit)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	require.Equal(t, int64(-2_000_000), c.balance(ledger.Credit(p.AccountID)))
	require.Zero(t, c.balance(ledger.Revenue, ledger.VAT))
	_, err = c.refund(root, payment.Reference, 0, "again")
	require.ErrorIs(t, err, billing.ErrNothingToRefund)
	c.run()
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status)
}

func TestRefund_OfPartlyCredit(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 500_000)
	client := c.client(p, "acme", "basic")
	payment := c.checkout(p, client)
	require.Equal(t, int64(1_000_000), payment.AmountKobo)
	c.pay(payment.Reference)
	got := c.back(p, payment.Reference, 0, nil)
	require.Equal(t, int64(1_000_000), got.AmountKobo)
	require.Equal(t, 1, c.count(`refunds WHERE to_credit AND amount_kobo = 500000 AND state = 'processed'`))
	require.Equal(t, int64(-500_000), c.balance(ledger.Credit(p.AccountID)))
	require.Zero(t, c.balance(ledger.Revenue, ledger.VAT, ledger.Receivable(p.AccountID), ledger.RefundsInTransit))
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	require.Zero(t, c.reconcile().Differences)
	c.balanced()
}

// The period that a parked payment was for is paid by another: giving the parked money back ends nothing, whether we or a bank do.
func TestRefund_OfAParkedPaymentEndsNothing(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(*calendar, accounts.Principal, string){
		"refund":  func(c *calendar, p accounts.Principal, reference string) { c.back(p, reference, 0, nil) },
		"dispute": func(c *calendar, _ accounts.Principal, reference string) { c.lose(reference) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, p, client := onPlan(t, "basic", cash)
			c.pass(29*days, 24*hours)
			parked := c.link()
			c.fault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 1_400_000, Times: 1})
			c.pay(parked)
			require.Equal(t, 1, c.alerts("payment.review"))
			payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
			require.NoError(t, err)
			c.pay(payment.Reference)
			paid := c.subscription(p)
			require.Equal(t, billing.SubscriptionActive, paid.Status)

			goes(c, p, parked)
			c.pass(2*hours, hours)
			require.Equal(t, billing.StatusRefunded, c.payment(parked).Status)
			require.Equal(t, paid.PeriodEnd, c.subscription(p).PeriodEnd)
			require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
			require.Equal(t, tenants.Active, c.state(client.ID))
			require.Zero(t, c.alerts("dispute.lost"))
			c.balanced()
		})
	}
}

// A part was given back, and a bank takes the rest: nothing is left that pays.
func TestDispute_OfTheRestEndsWhatWasPaid(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.back(p, c.first(), 600_000, nil)
	require.Equal(t, tenants.Active, c.state(client.ID))
	id, err := c.sim.OpenDispute(c.first(), "fraud", 900_000)
	require.NoError(t, err)
	require.NoError(t, c.sim.DecideDispute(id, true))
	c.settled()
	c.pass(2*hours, hours)
	require.Equal(t, billing.StatusRefunded, c.payment(c.first()).Status)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	require.Equal(t, 1, c.alerts("dispute.lost"))
	c.balanced()
}
