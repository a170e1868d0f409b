package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/billing"
	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
)

// balances are those of the play money's books, without accounts at zero. They add up to nothing.
func (b *bundle) balances() map[ledger.Account]int64 {
	b.t.Helper()
	totals, err := ledger.TrialBalance(b.t.Context(), b.pool, ledger.Test)
	require.NoError(b.t, err)
	balances, sum := map[ledger.Account]int64{}, int64(0)
	for _, total := range totals {
		sum += total.BalanceKobo()
		if total.BalanceKobo() != 0 {
			balances[total.Account] = total.BalanceKobo()
		}
	}
	require.Zero(b.t, sum)
	return balances
}

func (b *bundle) invoices(p accounts.Principal) []invoicing.Invoice {
	b.t.Helper()
	list, _, err := invoicing.New(invoicing.Deps{Pool: b.pool, Audit: audit.New(b.pool), Now: time.Now}, invoicing.Options{}).List(b.t.Context(), p, 0, 100)
	require.NoError(b.t, err)
	return list
}

// However often an event comes, there is one invoice, and each kobo is in the books once.
func TestPaid_IsInvoicedAndInTheBooks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	for range 3 {
		_, err := b.Confirm(t.Context(), p, payment.Reference)
		require.NoError(t, err)
	}
	list := b.invoices(p)
	require.Len(t, list, 1)
	inv := list[0]
	require.Equal(t, payment.AmountKobo, inv.GrossKobo)
	require.Equal(t, int64(payment.ID), inv.PaymentID)
	require.Equal(t, client.ID, inv.TenantID)
	require.Equal(t, payment.Reference, inv.Reference)
	require.Contains(t, inv.Lines[0].Description, "client acme")
	var fees int64
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT fees_kobo FROM payments WHERE reference = $1`, payment.Reference).Scan(&fees))
	require.Positive(t, fees)
	require.Equal(t, map[ledger.Account]int64{
		ledger.Gateway: payment.AmountKobo - fees, ledger.Fees: fees, ledger.Revenue: -inv.NetKobo, ledger.VAT: -inv.TaxKobo,
	}, b.balances())
}

// A second payment is the customer's money with us, and nothing is invoiced for it.
func TestPaidTwice_TheSecondIsACreditInTheBooks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, first := b.purchase()
	second := b.checkout(p, client)
	require.NoError(t, b.sim.Pay(first.Reference, ""))
	b.settled()
	require.NoError(t, b.sim.Pay(second.Reference, ""))
	b.settled()
	require.Len(t, b.invoices(p), 1)
	balances := b.balances()
	require.Equal(t, -second.AmountKobo, balances[ledger.Credit(p.AccountID)])
	require.Equal(t, first.AmountKobo+second.AmountKobo, balances[ledger.Gateway]+balances[ledger.Fees])
	require.Zero(t, balances[ledger.Receivable(p.AccountID)])
}

// Fees that the gateway didn't tell at first, or tells otherwise later, are in the books as it said them last.
func TestPaid_FeesThatComeLateAndChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, _, payment := b.purchase()
	b.gateway.alter(func(g *billing.Transaction) { g.FeesKobo = nil })
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	require.Equal(t, payment.AmountKobo, b.balances()[ledger.Gateway])
	for _, fees := range []int64{500, 500, 700, 300, 0, 500} {
		b.gateway.alter(func(g *billing.Transaction) { g.FeesKobo = &fees })
		for range 2 {
			require.NoError(t, b.Settle(t.Context(), payment.Reference))
		}
		require.Equal(t, fees, b.balances()[ledger.Fees])
		require.Equal(t, payment.AmountKobo-fees, b.balances()[ledger.Gateway])
	}
	require.Equal(t, 4, b.count(`ledger_entries WHERE kind = 'fee_correction'`))
	require.Len(t, b.invoices(p), 1)
}

// Where prices are without tax it comes on top of what the plan costs, and the invoice shows the price as its net amount.
func TestInitialize_PricesWithoutTax(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	deps := b.deps
	deps.Invoices = invoicing.New(invoicing.Deps{Pool: b.pool, Audit: audit.New(b.pool), Now: b.clock}, invoicing.Options{PricesExcludeTax: true})
	service := billing.New(deps, billing.Options{CallbackURL: "http://localhost/payment/callback"})
	p := b.account("ada")
	client := b.client(p, "acme", "basic")
	payment, err := service.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: client.PlanID, ClientName: client.Name})
	require.NoError(t, err)
	plan, err := b.tenants.Plan(t.Context(), client.PlanID)
	require.NoError(t, err)
	require.Equal(t, plan.PriceMonthlyKobo*1075/1000, payment.AmountKobo)
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	require.NoError(t, service.Settle(t.Context(), payment.Reference))
	list := b.invoices(p)
	require.Len(t, list, 1)
	require.Equal(t, plan.PriceMonthlyKobo, list[0].NetKobo)
}
