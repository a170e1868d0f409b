package billing_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// has gives an account credit: it pays for a client that is gone, and an administrator keeps the money.
func (c *calendar) has(p accounts.Principal, kobo int64) billing.Payment {
	c.t.Helper()
	client := c.client(p, "gone", "basic")
	payment := c.checkout(p, client)
	c.exec(`UPDATE payments SET amount_kobo = $2 WHERE id = $1`, payment.ID, kobo)
	c.exec(`UPDATE tenants SET state = 'deleted', desired = 'deleted', deleted_at = now() WHERE id = $1`, client.ID)
	c.gateway.alter(func(t *billing.Transaction) {
		if t.Reference == payment.Reference {
			t.AmountKobo = kobo
		}
	})
	c.pay(payment.Reference)
	c.keep()
	return payment
}

// keep decides everything that is undecided.
func (c *calendar) keep() {
	c.t.Helper()
	root := accounts.Principal{Username: "root1", Admin: true}
	list, _, err := c.Credits(c.t.Context(), root, 0, 100)
	require.NoError(c.t, err)
	for _, credit := range list {
		if credit.Resolution == "" {
			require.NoError(c.t, c.KeepCredit(c.t.Context(), root, c.ip, credit.ID, "for the next period"))
		}
	}
}

func (c *calendar) charges() int {
	c.t.Helper()
	return c.count(`payments WHERE charged AND amount_kobo > 0`)
}

func TestDivideCost(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ cost, credit, gateway int64 }{
		{1_500_000, 0, 1_500_000},
		{1_500_000, 500_000, 1_000_000},
		{1_500_000, 1_500_000, 0},
		{1_500_000, 9_000_000, 0},
		{1_500_000, 1_499_000, 5_000},
		{1_500_000, 1_495_000, 5_000},
		{4_000, 1_000, 4_000},
		{1_500_000, -5, 1_500_000},
	} {
		gateway, credit := billing.DivideCost(tc.cost, tc.credit, "NGN")
		require.Equal(t, tc.gateway, gateway, tc)
		require.Equal(t, tc.cost, gateway+credit)
	}
}

// A renewal takes the credit first and charges the card for the rest; the next one, which has no credit left, all of it.
func TestCredit_PaysForRenewalsFirst(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	c.has(p, 2_000_000)
	require.Equal(t, int64(2_000_000), c.subscription(p).CreditKobo)
	c.pass(29*days, 12*hours)
	require.Zero(t, c.charges(), "nothing is charged")
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND status = 'success' AND amount_kobo = 0 AND credit_kobo = 1500000`))
	require.Equal(t, int64(500_000), c.subscription(p).CreditKobo)
	c.pass(31*days, 12*hours)
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND status = 'success' AND amount_kobo = 1000000 AND credit_kobo = 500000 AND charged`))
	c.pass(30*days, 12*hours)
	require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND status = 'success' AND amount_kobo = 1500000 AND credit_kobo = 0`))
	require.Zero(t, c.balance(ledger.Credit(p.AccountID)))
	c.balanced()
	invoices := c.invoices(p)
	require.Len(t, invoices, 4)
	require.Equal(t, []int64{0, 500_000, 1_500_000, 0}, []int64{invoices[0].CreditKobo, invoices[1].CreditKobo, invoices[2].CreditKobo, invoices[3].CreditKobo})
	require.Zero(t, c.reconcile().Differences)
}

// What nobody has decided about may have to go back, so it isn't spent.
func TestCredit_UndecidedIsNotSpent(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, client, first := c.purchase()
	second := c.checkout(p, client)
	c.pay(first.Reference)
	c.pay(second.Reference)
	require.Zero(t, c.subscription(p).CreditKobo)
	c.pass(29*days, 12*hours)
	require.Equal(t, 1, c.charges())
	require.Equal(t, 1, c.count(`credits WHERE resolution IS NULL AND used_kobo = 0`))
}

// Credit that is kept while a client is unpaid, suspended or about to be deleted pays for it at once.
func TestCredit_PaysWhatIsDueAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		late  time.Duration
		state tenants.State
	}{
		"past due":  {2 * days, tenants.Active},
		"suspended": {10 * days, tenants.Suspended},
		"scheduled": {30 * days, tenants.Scheduled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			p, client := c.customer(cash)
			c.pass(28*days+tc.late, 12*hours)
			require.Equal(t, tc.state, c.state(client.ID))
			c.has(p, 1_500_000)
			c.run()
			require.Equal(t, tenants.Active, c.state(client.ID))
			require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
			require.Equal(t, 1, c.count(`payments WHERE purpose = 'renewal' AND status = 'success' AND credit_kobo = 1500000`))
			c.balanced()
		})
	}
}

// A link asks for the rest only, and an attempt with a card that declines takes no credit.
func TestCredit_LinkForTheRest(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	c.has(p, 400_000)
	c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
	c.pass(29*days, 12*hours)
	require.Positive(t, c.count(`payments WHERE charged AND status = 'failed' AND amount_kobo = 1100000 AND credit_kobo = 400000`))
	require.Zero(t, c.count(`credit_uses`))
	link := c.link()
	require.Equal(t, 1, c.count(`payments WHERE reference = $1 AND amount_kobo = 1100000 AND credit_kobo = 400000`, link))
	c.pay(link)
	require.Equal(t, billing.SubscriptionActive, c.subscription(p).Status)
	require.Zero(t, c.balance(ledger.Credit(p.AccountID)))
	c.balanced()
}

// First payments and upgrades too; front ends are sent where a checkout would have sent them.
func TestCredit_PaysForClientsAndUpgrades(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 5_000_000)
	client := c.client(p, "acme", "basic")
	payment := c.checkout(p, client)
	require.Equal(t, "http://localhost/payment/callback?reference="+payment.Reference+"&trxref="+payment.Reference, payment.AuthorizationURL)
	require.Equal(t, billing.StatusSuccess, payment.Status)
	c.settled()
	require.Equal(t, tenants.Active, c.state(client.ID))
	again, err := c.Confirm(t.Context(), p, payment.Reference)
	require.NoError(t, err)
	require.Equal(t, billing.StatusSuccess, again.Status)

	preview, err := c.ChangePlan(t.Context(), p, c.ip, "acme", "business", true)
	require.NoError(t, err)
	require.Equal(t, [2]int64{0, 3_000_000}, [2]int64{preview.AmountKobo, preview.CreditKobo})
	change, err := c.ChangePlan(t.Context(), p, c.ip, "acme", "business", false)
	require.NoError(t, err)
	require.Equal(t, billing.PlanChanged, change.Outcome)
	require.Equal(t, int64(3_000_000), change.CreditKobo)
	require.Equal(t, "business", c.planOf(client.ID))
	require.Equal(t, int64(500_000), c.subscription(p).CreditKobo)
	c.balanced()
}

// Two payments count on the same credit: the second one's money isn't lost, but pays with the next attempt.
func TestCredit_CountedOnTwice(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 500_000)
	client := c.client(p, "acme", "basic")
	first, second := c.checkout(p, client), c.checkout(p, client)
	require.Equal(t, int64(500_000), first.CreditKobo)
	require.Equal(t, int64(500_000), second.CreditKobo, "one purchase, two tries")
	other := c.client(p, "other", "basic")
	require.Zero(t, c.checkout(p, other).CreditKobo, "another purchase")
	c.exec(`UPDATE payments SET status = 'failed' WHERE tenant_id = $1`, client.ID)
	third := c.checkout(p, other)
	require.Equal(t, int64(500_000), third.CreditKobo)
	c.pay(first.Reference) // somebody comes back to it all the same
	require.Equal(t, tenants.Active, c.state(client.ID))
	c.pay(third.Reference)
	require.Equal(t, tenants.Pending, c.state(other.ID))
	require.Equal(t, 1, c.count(`credits WHERE payment_id = $1 AND resolution = 'kept' AND amount_kobo = 1000000`, third.ID))
	require.Equal(t, int64(500_000), c.checkout(p, other).AmountKobo, "the rest")
	require.Equal(t, int64(-1_000_000), c.balance(ledger.Credit(p.AccountID)))
	c.balanced()
}

// Spent money can't be given back to the bank as well.
func TestCredit_SpentIsNotRefundable(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	source := c.has(p, 2_000_000)
	c.pass(29*days, 12*hours)
	p.Admin = true
	_, err := c.refund(p, source.Reference, 500_001, "too much")
	require.ErrorIs(t, err, billing.ErrRefundTooMuch)
	got, err := c.refund(p, source.Reference, 0, "the rest")
	require.NoError(t, err)
	require.Equal(t, int64(500_000), got.AmountKobo)
	require.Zero(t, c.subscription(p).CreditKobo)
}

// A year's price counts by the twelfth, whatever a customer has as credit.
func TestSummaries_AYearByTwelve(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p := c.account("ada")
	client := c.client(p, "acme", "business")
	payment, err := c.Initialize(t.Context(), p, c.ip, billing.InitializeInput{PlanID: "business", BillingCycle: "annual", ClientName: client.Name})
	require.NoError(t, err)
	c.pay(payment.Reference)
	p.Admin = true
	list, err := c.Summaries(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, int64(3_348_837), list[0].MonthlyKobo, "the twelfth of what is left without VAT")
	require.Equal(t, int64(12*3_600_000), payment.AmountKobo, "a year costs less than twelve months")
	inv := c.invoices(p)[0]
	require.Equal(t, "2026-01-31", inv.PeriodStart.Format(time.DateOnly))
	require.Equal(t, "2027-01-30", inv.PeriodEnd.Format(time.DateOnly))
}

// Wherever applying is cut off, credit is spent once and given back once.
func TestCredit_CrashBetweenAnyTwoStatements(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 500_000)
	client := c.client(p, "acme", "basic")
	payment := c.checkout(p, client)
	c.dropWebhooks()
	require.NoError(t, c.sim.Pay(payment.Reference, ""))
	c.applyCrashing(payment.Reference)
	c.settled()
	require.Equal(t, tenants.Active, c.state(client.ID))
	require.Equal(t, 1, c.count(`credit_uses WHERE amount_kobo = 500000`))
	require.Zero(t, c.balance(ledger.Credit(p.AccountID)))

	transaction, err := c.gateway.Verify(t.Context(), payment.Reference)
	require.NoError(t, err)
	_, err = c.gateway.Refund(t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: 1_000_000, Currency: "NGN"})
	require.NoError(t, err)
	require.NoError(t, c.sim.FinishRefund(c.sim.Refunds()[0].ID, "processed"))
	c.advance(hours)
	c.applyCrashing(payment.Reference)
	require.Equal(t, 1, c.count(`refunds WHERE to_credit`))
	require.Equal(t, 1, c.count(`subscriptions WHERE status = 'past_due' AND returned_at IS NOT NULL`))
	require.Equal(t, int64(-500_000), c.balance(ledger.Credit(p.AccountID)))
	c.balanced()
}

// applyCrashing has a payment applied, and cut off before one statement after the other, until none is left; nothing may be half done.
func (c *calendar) applyCrashing(reference string) {
	c.t.Helper()
	service, crash := c.crashing()
	state := func() string {
		return c.money() + fmt.Sprint(c.count(`credit_uses`), c.count(`credit_uses WHERE returned_at IS NOT NULL`), c.count(`credits WHERE used_kobo > 0`))
	}
	before := state()
	for n := int64(1); ; n++ {
		crash.seen.Store(0)
		crash.at.Store(n)
		err := service.Settle(c.t.Context(), reference)
		if crash.seen.Load() < n {
			require.NoError(c.t, err)
			require.Greater(c.t, n, int64(20), "it takes some statements")
			return
		}
		if err != nil {
			require.Equal(c.t, before, state())
		}
	}
}
