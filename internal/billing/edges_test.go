package billing_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// What came from credit and what came from a card are of the same amount: both go back, and neither passes for a repeat of the other.
func TestRefund_HalfOfItFromCredit(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 750_000)
	payment := c.checkout(p, c.client(p, "acme", "basic"))
	require.Equal(t, [2]int64{750_000, 750_000}, [2]int64{payment.AmountKobo, payment.CreditKobo})
	c.pay(payment.Reference)
	root := p
	root.Admin = true
	got, err := c.refund(root, payment.Reference, 0, "never worked")
	require.NoError(t, err)
	require.NoError(t, c.sim.FinishRefund(got.GatewayID, "processed"))
	c.settled()
	require.Equal(t, billing.RefundProcessed, c.refundState(got.ID))
	require.Equal(t, 1, c.count(`refunds WHERE to_credit AND amount_kobo = 750000`))
	require.Equal(t, int64(-750_000), c.balance(ledger.Credit(p.AccountID)))
	require.Zero(t, c.balance(ledger.Receivable(p.AccountID)))
}

// A client that is gone isn't the owner's any more, however long it was paid for.
func TestSubscription_OfADeletedClient(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	c.pay(c.checkout(p, c.client(p, "second", "basic")).Reference)
	_, err := c.SubscriptionOf(t.Context(), p, "")
	require.ErrorIs(t, err, billing.ErrWhichSubscription)
	boss := p
	boss.Admin = true
	_, err = c.tenants.Delete(t.Context(), boss, c.ip, client.Name, tenants.DeleteInput{})
	require.NoError(t, err)
	c.settled()
	require.Equal(t, "second", c.subscription(p).TenantName)
	c.run()
	require.Equal(t, 1, c.count(`subscriptions WHERE status = 'ended'`))
	list, err := c.Summaries(t.Context(), boss)
	require.NoError(t, err)
	require.Equal(t, 1, list[0].Active)
}

// Paying early would begin the smaller plan before the larger one's time is over.
func TestChangePlan_DowngradeIsNotPaidEarly(t *testing.T) {
	t.Parallel()
	c, p, client := onPlan(t, "business", "")
	_, err := c.ChangePlan(t.Context(), p, c.ip, "", "basic", false)
	require.NoError(t, err)
	c.pass(16*days, 12*hours)
	_, err = c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.ErrorIs(t, err, billing.ErrPaidUp)
	require.Equal(t, "business", c.planOf(client.ID))
	c.pass(13*days, 12*hours)
	require.Equal(t, "basic", c.planOf(client.ID), "by card, when it is due")
	c.balanced()
}

// Taking a deletion back isn't paying: a client whose subscription has run out doesn't run by it, how often soever.
func TestCancel_DeletionTakenBackByTheOwner(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	_, err := c.Cancel(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	c.pass(28*days+hours, 12*hours)
	for range 3 {
		require.Equal(t, tenants.Scheduled, c.state(client.ID))
		_, err := c.tenants.CancelDeletion(t.Context(), p, c.ip, client.Name)
		require.NoError(t, err)
		c.settled()
		require.Equal(t, tenants.Suspended, c.state(client.ID))
		_, err = c.tenants.Resume(t.Context(), p, c.ip, client.Name)
		require.ErrorIs(t, err, tenants.ErrSuspendedByOther)
		c.pass(73*hours, 12*hours)
	}
	_, err = c.Reactivate(t.Context(), p, c.ip, "")
	require.NoError(t, err)
	payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "basic", ClientName: "acme"})
	require.NoError(t, err)
	c.pay(payment.Reference)
	require.Equal(t, tenants.Active, c.state(client.ID))
}

// Nor does a client that its owner had suspended themselves: they can't lift that any more, whichever way they take the deletion back.
func TestCancel_DeletionTakenBackOfWhatItsOwnerSuspended(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]func(c *calendar, p accounts.Principal) error{
		"deletion cancelled": func(c *calendar, p accounts.Principal) error {
			_, err := c.tenants.CancelDeletion(t.Context(), p, c.ip, "acme")
			return err
		},
		"reactivated": func(c *calendar, p accounts.Principal) error {
			_, err := c.Reactivate(t.Context(), p, c.ip, "")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			p, client := c.customer("")
			_, err := c.tenants.Suspend(t.Context(), p, c.ip, client.Name, "")
			require.NoError(t, err)
			_, err = c.Cancel(t.Context(), p, c.ip, "")
			require.NoError(t, err)
			c.pass(28*days+hours, 12*hours)
			require.Equal(t, tenants.Scheduled, c.state(client.ID))
			require.NoError(t, back(c, p))
			c.settled()
			require.Equal(t, tenants.Suspended, c.state(client.ID))
			_, err = c.tenants.Resume(t.Context(), p, c.ip, client.Name)
			require.ErrorIs(t, err, tenants.ErrSuspendedByOther)
			_, _ = c.Reactivate(t.Context(), p, c.ip, "")
			c.pay(c.checkoutAgain(client))
			require.Equal(t, tenants.Active, c.state(client.ID))
		})
	}
}

// Cancelling and coming back again and again keeps nobody's data longer than everybody's who doesn't pay.
func TestReactivate_GainsNoTime(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer(cash)
	end := c.subscription(p).PeriodEnd
	c.pass(end.Add(8*days).Sub(c.clock()), 12*hours)
	require.Equal(t, tenants.Suspended, c.state(client.ID))
	for range 3 {
		_, err := c.Cancel(t.Context(), p, c.ip, "")
		require.NoError(t, err)
		c.pass(hours, hours)
		require.Equal(t, tenants.Scheduled, c.state(client.ID))
		_, err = c.Reactivate(t.Context(), p, c.ip, "")
		require.NoError(t, err)
		c.pass(6*days, 12*hours)
		require.Equal(t, tenants.Suspended, c.state(client.ID), "until its time is over")
	}
	c.pass(end.Add(28*days+hours).Sub(c.clock()), 12*hours)
	require.Equal(t, tenants.Scheduled, c.state(client.ID))
	require.Equal(t, billing.SubscriptionPastDue, c.subscription(p).Status)
	c.pay(c.checkoutAgain(client))
	require.Equal(t, tenants.Active, c.state(client.ID))
	c.balanced()
}

// repeating answers charges as if something on the way had sent them twice.
type repeating struct{ *gateway }

func (g repeating) ChargeAuthorization(ctx context.Context, r billing.ChargeRequest) (billing.Transaction, error) {
	t, err := g.gateway.ChargeAuthorization(ctx, r)
	if err == nil {
		err = billing.ErrDuplicateReference
	}
	return t, err
}

func TestRenew_ChargeRepeatedOnTheWay(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	c.deps.Gateway = repeating{c.gateway}
	c.Service = billing.New(c.deps, billing.Options{CallbackURL: "http://localhost/payment/callback", RunGap: 13 * hours})
	p, _ := c.customer("")
	c.dropWebhooks()
	c.pass(32*days, 12*hours)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	require.Equal(t, 1, c.charges())
	require.Len(t, c.sim.Transactions(), 2, "the first payment and one renewal")
}

// Who couldn't pay for a day of the undo window, since nothing ran or the gateway was down, has a day more.
func TestExtendUndo(t *testing.T) {
	t.Parallel()
	for name, outage := range map[string]func(c *calendar){
		"we were down": func(c *calendar) { c.advance(24 * hours) },
		"the gateway was down": func(c *calendar) {
			c.gateway.breakDown(errDown)
			c.exec(`UPDATE payments SET next_check_at = $1 WHERE id = (SELECT max(id) FROM payments)`, c.clock())
			for range 4 {
				_ = c.Poll(t.Context())
				_, _ = c.Renew(t.Context())
				c.advance(6 * hours)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			_, client := c.customer(cash)
			c.pass(28*days+28*days, 12*hours)
			require.Equal(t, tenants.Scheduled, c.state(client.ID))
			tenant, err := c.tenants.ByID(t.Context(), client.ID)
			require.NoError(t, err)
			due := *tenant.DeletionScheduledAt
			c.pass(due.Sub(c.clock())-12*hours, 6*hours)
			outage(c)
			extended, err := c.ExtendUndo(t.Context(), client.ID)
			require.NoError(t, err)
			require.True(t, extended)
			tenant, err = c.tenants.ByID(t.Context(), client.ID)
			require.NoError(t, err)
			require.Equal(t, due.Add(24*hours).UTC(), tenant.DeletionScheduledAt.UTC())
			c.gateway.breakDown(nil)
			c.run()
			c.pay(c.checkoutAgain(client))
			require.Equal(t, tenants.Active, c.state(client.ID), "paid in time, all things considered")
		})
	}
}

func TestExtendUndo_AsksTheGatewayBeforeADeletion(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	_, client := c.customer(cash)
	c.pass(28*days+28*days, 12*hours)
	tenant, err := c.tenants.ByID(t.Context(), client.ID)
	require.NoError(t, err)
	reference := c.checkoutAgain(client)
	c.dropWebhooks()
	require.NoError(t, c.sim.Pay(reference, ""))
	c.exec(`UPDATE tenants SET deletion_scheduled_at = $2 WHERE id = $1`, client.ID, c.clock().Add(-hours))
	c.exec(`UPDATE subscriptions SET deletion_at = $2 WHERE tenant_id = $1`, client.ID, c.clock().Add(-hours))
	stays, err := c.ExtendUndo(t.Context(), client.ID)
	require.NoError(t, err)
	require.True(t, stays, "it is paid, and only we didn't know")
	c.run()
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.True(t, tenant.DeletionScheduledAt.After(c.clock()))
}

// checkoutAgain opens a payment of the next period.
func (c *calendar) checkoutAgain(client tenants.Tenant) string {
	c.t.Helper()
	p := accounts.Principal{AccountID: client.AccountID, Username: "ada", Email: client.Email}
	payment, err := c.Initialize(c.t.Context(), p, c.ip, billing.InitializeInput{PlanID: client.PlanID, ClientName: client.Name})
	require.NoError(c.t, err)
	return payment.Reference
}

func TestExtendUndo_OnlyWhatBillingHasScheduled(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client := c.customer("")
	_, err := c.tenants.ScheduleDeletion(t.Context(), p, c.ip, client.Name, 12)
	require.NoError(t, err)
	c.advance(20 * days)
	extended, err := c.ExtendUndo(t.Context(), client.ID)
	require.NoError(t, err)
	require.False(t, extended)
}
