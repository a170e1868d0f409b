package billing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
)

// A bank takes back money that nobody had taken up: it is in the books neither as held nor as unexplained, and isn't our loss.
func TestDispute_OfAParkedPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 100_000, Times: 1}))
	_, _, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	require.Equal(t, int64(-100_000), b.balance(ledger.Suspense))
	b.lose(payment.Reference)
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	for _, a := range []ledger.Account{ledger.Disputes, ledger.Suspense, ledger.WriteOffs} {
		require.Zero(t, b.balance(a), a)
	}
	require.Zero(t, b.balance(ledger.Gateway, ledger.Fees))
}

// A bank takes back a second payment: we owe the customer nothing for it any more.
func TestDispute_OfASecondPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, first := b.purchase()
	second := b.checkout(p, client)
	for _, reference := range []string{first.Reference, second.Reference} {
		require.NoError(t, b.sim.Pay(reference, ""))
		b.settled()
	}
	require.Equal(t, -second.AmountKobo, b.balance(ledger.Credit(p.AccountID)))
	b.lose(second.Reference)
	for _, a := range []ledger.Account{ledger.Disputes, ledger.Credit(p.AccountID), ledger.WriteOffs} {
		require.Zero(t, b.balance(a), a)
	}
}

// Money is given back in part at the gateway before we have heard that it came: the rest of the books knows nothing of the detour.
func TestRefund_BeforeThePaymentIsApplied(t *testing.T) {
	t.Parallel()
	for _, outcome := range []billing.RefundState{billing.RefundProcessed, billing.RefundFailed} {
		t.Run(string(outcome), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p, client, payment := b.purchase()
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookDrop, Times: 1}))
			require.NoError(t, b.sim.Pay(payment.Reference, ""))
			transaction, err := b.gateway.Verify(t.Context(), payment.Reference)
			require.NoError(t, err)
			_, err = b.gateway.Refund(t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: 700_000, Currency: "NGN"})
			require.NoError(t, err)
			b.settled()
			require.Equal(t, 1, b.alerts("payment.review"))
			require.NoError(t, b.sim.FinishRefund(b.sim.Refunds()[0].ID, string(outcome)))
			b.settled()
			b.activatedOnce(client.ID, payment.Reference)
			for _, a := range []ledger.Account{ledger.RefundsInTransit, ledger.Suspense, ledger.Receivable(p.AccountID)} {
				require.Zero(t, b.balance(a), a)
			}
			want, notes := payment.AmountKobo, 0
			if outcome == billing.RefundProcessed {
				want, notes = want-700_000, 1
			}
			require.Equal(t, want, b.balance(ledger.Gateway, ledger.Fees))
			require.Equal(t, notes, b.count(`invoices WHERE credits_id IS NOT NULL AND gross_kobo = 700000`))
			require.Zero(t, b.alerts("payment.review"))
		})
	}
}

// lose has a payment disputed, and the dispute lost.
func (b *bundle) lose(reference string) {
	b.t.Helper()
	id, err := b.sim.OpenDispute(reference, "fraud", 0)
	require.NoError(b.t, err)
	b.settled()
	require.NoError(b.t, b.sim.DecideDispute(id, true))
	b.settled()
}
