package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// Word of a refund or a dispute comes before the gateway says that the payment was made at all. It is put before a person, changes nothing, and is
// applied together with the payment, although its event doesn't come again.
func TestEarly_ReturnsBeforeThePayment(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		event string
		does  func(b *bundle, reference string)
		check func(b *bundle)
	}{
		"refund of a part": {"refund.processed", func(b *bundle, reference string) {
			b.givenBack(reference, 400_000)
		}, func(b *bundle) {
			require.Equal(b.t, 1, b.count(`payments WHERE status = 'success' AND purpose = 'activation' AND refunded_kobo = 400000`))
			require.Equal(b.t, 1, b.count(`invoices WHERE credits_id IS NOT NULL AND gross_kobo = 400000`))
		}},
		"refund in full": {"refund.processed", func(b *bundle, reference string) {
			b.givenBack(reference, 1_500_000)
		}, func(b *bundle) {
			require.Equal(b.t, 1, b.count(`payments WHERE status = 'refunded' AND refunded_kobo = amount_kobo`))
			require.Zero(b.t, b.count(`subscriptions`), "nothing was ever paid for")
			require.Zero(b.t, b.balance(ledger.Gateway, ledger.Fees))
		}},
		"dispute": {"charge.dispute.create", func(b *bundle, reference string) {
			_, err := b.sim.OpenDispute(reference, "fraud", 0)
			require.NoError(b.t, err)
		}, func(b *bundle) {
			require.Equal(b.t, 1, b.count(`payments WHERE status = 'success' AND purpose = 'activation'`))
			require.Equal(b.t, 1, b.count(`disputes WHERE outcome = 'open'`))
			require.Equal(b.t, 1, b.alerts("dispute.open"))
			require.Equal(b.t, int64(1_500_000), b.balance(ledger.Disputes))
		}},
		"dispute that is lost": {"charge.dispute.resolve", func(b *bundle, reference string) {
			id, err := b.sim.OpenDispute(reference, "fraud", 0)
			require.NoError(b.t, err)
			require.NoError(b.t, b.sim.DecideDispute(id, true))
		}, func(b *bundle) {
			require.Equal(b.t, 1, b.count(`disputes WHERE outcome = 'lost'`))
			require.Equal(b.t, 1, b.count(`payments WHERE status = 'refunded'`))
			require.Zero(b.t, b.balance(ledger.Disputes))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, client, payment := b.purchase()
			require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookDrop, Times: 1}))
			require.NoError(t, b.sim.Pay(payment.Reference, ""))
			b.gateway.alter(func(t *billing.Transaction) { t.Status, t.PaidAt, t.FeesKobo = billing.GatewayOngoing, nil, nil })
			tc.does(b, payment.Reference)
			b.settled()
			require.Positive(t, b.count(`payment_events WHERE event = $1 AND applied_at IS NOT NULL`, tc.event))
			require.Equal(t, 1, b.alerts("payment.early"))
			b.untouched(client.ID)
			require.Zero(t, b.count(`refunds`)+b.count(`disputes`)+b.count(`ledger_entries`))

			b.gateway.alter(nil)
			require.NoError(t, b.Settle(t.Context(), payment.Reference))
			require.Zero(t, b.alerts("payment.early"))
			tc.check(b)
			require.Zero(t, b.balance(ledger.Suspense))
			before := b.money()
			require.NoError(t, b.Settle(t.Context(), payment.Reference))
			require.Equal(t, before, b.money())
			require.Zero(t, b.reconcile().Differences)
		})
	}
}

// The daily comparison meets a dispute of a payment that isn't applied: both are, at once.
func TestEarly_DisputeFoundByReconciliation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	_, err := b.sim.OpenDispute(payment.Reference, "fraud", 0)
	require.NoError(t, err)
	b.gateway.alter(func(t *billing.Transaction) { t.Status, t.PaidAt = billing.GatewayPending, nil })
	b.advance(time.Hour)
	_, err = b.Reconcile(t.Context())
	require.NoError(t, err)
	require.Equal(t, tenants.Pending, b.state(client.ID))
	require.Zero(t, b.count(`disputes`))
	b.gateway.alter(nil)
	require.Zero(t, b.reconcile().Differences)
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, 1, b.count(`disputes WHERE outcome = 'open'`))
	require.Equal(t, int64(1_500_000), b.balance(ledger.Disputes))
}

// givenBack has a refund made at the gateway's dashboard, and be through.
func (b *bundle) givenBack(reference string, kobo int64) {
	b.t.Helper()
	transaction, err := b.gateway.Verify(b.t.Context(), reference)
	require.NoError(b.t, err)
	made, err := b.gateway.Refund(b.t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: kobo, Currency: "NGN"})
	require.NoError(b.t, err)
	require.NoError(b.t, b.sim.FinishRefund(made.ID, "processed"))
}
