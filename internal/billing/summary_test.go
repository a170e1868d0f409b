package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/invoicing"
)

// summed is the only row of the summary.
func (c *calendar) summed() billing.Summary {
	c.t.Helper()
	list, err := c.Summaries(c.t.Context(), accounts.Principal{Username: "root1", Admin: true})
	require.NoError(c.t, err)
	require.Len(c.t, list, 1)
	return list[0]
}

// Revenue is what is left without the tax that each customer pays; what is owed is with it.
func TestSummaries_AreNetOfTax(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name             string
		excluded, abroad bool
		monthly, overdue int64
	}{
		{"prices with tax", false, false, 1_395_349, 1_500_000},
		{"prices without tax", true, false, 1_500_000, 1_612_500},
		{"prices with tax, sold abroad", false, true, 1_500_000, 1_500_000},
		{"prices without tax, sold abroad", true, true, 1_500_000, 1_500_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := setupCalendar(t)
			c.deps.Invoices = invoicing.New(invoicing.Deps{Pool: c.pool, Audit: c.deps.Audit, Now: c.clock}, invoicing.Options{PricesExcludeTax: tc.excluded})
			c.Service = billing.New(c.deps, billing.Options{GatewayTimeout: 5 * time.Second, RunGap: 13 * hours})
			p, _, payment := c.purchase()
			if tc.abroad {
				c.exec(`INSERT INTO billing_profiles (account_id, country, address, updated_at) VALUES ($1, 'GH', '7 Ring Road', now())`, p.AccountID)
			}
			c.pay(payment.Reference)
			require.Equal(t, tc.monthly, c.summed().MonthlyKobo)
			c.fault(simulator.Fault{Kind: simulator.ChargeDecline})
			c.pass(28*days+hours, 12*hours)
			require.Equal(t, []int64{tc.monthly, tc.overdue}, []int64{c.summed().MonthlyKobo, c.summed().OverdueKobo})
		})
	}
}

// What went back counts on the day on which it went, not on the day on which it had come; what became credit again went nowhere.
func TestSummaries_RefundsOfTheseDays(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	p, _ := c.customer("")
	c.pass(40*days, 24*hours)
	require.Zero(t, c.summed().Refunds)
	c.back(p, c.first(), 400_000, nil)
	id, err := c.sim.OpenDispute(c.first(), "fraud", 300_000)
	require.NoError(t, err)
	require.NoError(t, c.sim.DecideDispute(id, true))
	c.settled()
	require.Equal(t, []int64{700_000, 2}, []int64{c.summed().RefundedKobo, int64(c.summed().Refunds)})
	require.Equal(t, int64(1_500_000), c.summed().ReceivedKobo, "the renewal alone is of these days")
	c.pass(31*days, 24*hours)
	require.Zero(t, c.summed().RefundedKobo)
}

// A reversal that nobody explains counts until a refund does in its place.
func TestSummaries_Reversals(t *testing.T) {
	t.Parallel()
	c := setupCalendar(t)
	c.customer("")
	c.gateway.alter(func(t *billing.Transaction) { t.Status = billing.GatewayReversed })
	require.NoError(t, c.Settle(t.Context(), c.first()))
	require.Equal(t, []int64{1_500_000, 1}, []int64{c.summed().RefundedKobo, int64(c.summed().Refunds)})
	c.gateway.alter(nil)
	c.givenBack(c.first(), 1_500_000)
	c.settled()
	require.NoError(t, c.Settle(t.Context(), c.first()))
	require.Equal(t, []int64{1_500_000, 1}, []int64{c.summed().RefundedKobo, int64(c.summed().Refunds)})
}
