package billing_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// paid is a purchase whose payment was applied, and an administrator.
func (b *bundle) paid() (root accounts.Principal, client tenants.Tenant, payment billing.Payment) {
	b.t.Helper()
	_, client, payment = b.purchase()
	require.NoError(b.t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	root = b.account("root1")
	root.Admin = true
	return root, client, payment
}

func (b *bundle) refund(root accounts.Principal, reference string, kobo int64, reason string) (billing.RefundOrder, error) {
	b.t.Helper()
	return b.Refund(b.t.Context(), root, b.ip, billing.RefundInput{Reference: reference, AmountKobo: kobo, Reason: reason})
}

func (b *bundle) refundState(id billing.RefundID) billing.RefundState {
	b.t.Helper()
	var state billing.RefundState
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT state FROM refunds WHERE id = $1`, id).Scan(&state))
	return state
}

// pass moves both clocks and does what has become due.
func (b *bundle) pass(d time.Duration) {
	b.t.Helper()
	b.advance(d)
	b.sim.Advance(d)
	b.settled()
	require.NoError(b.t, b.PollRefunds(b.t.Context()))
}

// balance is what the books of play money say.
func (b *bundle) balance(of ...ledger.Account) int64 {
	b.t.Helper()
	kobo, err := ledger.Balance(b.t.Context(), b.pool, ledger.Test, "NGN", of...)
	require.NoError(b.t, err)
	return kobo
}

func (b *bundle) alerts(kind string) int {
	b.t.Helper()
	return b.count(`alerts WHERE kind = $1 AND resolved_at IS NULL`, kind)
}

func TestRefund_InFull(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, client, payment := b.paid()
	held := b.balance(ledger.Gateway)
	got, err := b.refund(root, payment.Reference, 0, "never worked")
	require.NoError(t, err)
	require.Equal(t, billing.RefundPending, got.State)
	require.Equal(t, payment.AmountKobo, got.AmountKobo)
	require.Equal(t, -payment.AmountKobo, b.balance(ledger.RefundsInTransit))
	require.Equal(t, billing.StatusSuccess, b.payment(payment.Reference).Status, "it may fail yet")

	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.RefundProcessed, b.refundState(got.ID))
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	require.Empty(t, b.payment(payment.Reference).Review, "everybody knows why")
	require.Zero(t, b.balance(ledger.RefundsInTransit))
	require.Equal(t, held-payment.AmountKobo, b.balance(ledger.Gateway))
	require.Equal(t, tenants.Provisioning, b.state(client.ID))
	require.Len(t, b.sim.Refunds(), 1)

	_, err = b.refund(root, payment.Reference, 0, "again")
	require.ErrorIs(t, err, billing.ErrNothingToRefund)
	b.sim.Send("test", "charge.success", map[string]any{"id": 99, "reference": payment.Reference})
	b.settled()
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status, "an old success changes nothing")
	require.Equal(t, 1, b.count(`operations WHERE kind = 'tenant.provision'`))
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'payment.refund' AND detail ->> 'reason' = 'never worked'`))
}

func TestRefund_InParts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, _, payment := b.paid()
	first, err := b.refund(root, payment.Reference, 500_000, "a day without service")
	require.NoError(t, err)
	_, err = b.refund(root, payment.Reference, 500_000, "a day without service")
	require.ErrorIs(t, err, billing.ErrRefundRepeated, "a repeat gives nothing back twice")
	_, err = b.refund(root, payment.Reference, 1_000_001, "too much")
	require.ErrorIs(t, err, billing.ErrRefundTooMuch)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.RefundProcessed, b.refundState(first.ID))
	require.Equal(t, billing.StatusSuccess, b.payment(payment.Reference).Status, "the rest is ours")
	require.Equal(t, 1, b.count(`payments WHERE refunded_kobo = 500000`))

	second, err := b.refund(root, payment.Reference, 0, "all the rest")
	require.NoError(t, err)
	require.Equal(t, int64(1_000_000), second.AmountKobo)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	list, total, err := b.RefundList(t.Context(), root, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 2, total)
	require.Equal(t, second.ID, list[0].ID)
}

func TestRefund_BadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, payment := b.purchase()
	_, err := b.refund(p, payment.Reference, 0, "x")
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	root := p
	root.Admin = true
	for name, tc := range map[string]struct {
		reference, reason string
		kobo              int64
		want              error
	}{
		"no reason":         {payment.Reference, "  ", 0, billing.ErrRefundReason},
		"negative":          {payment.Reference, "x", -1, billing.ErrRefundNegative},
		"unknown":           {"ODOO-000000000000", "x", 0, billing.ErrPaymentNotFound},
		"no reference":      {"", "x", 0, billing.ErrPaymentNotFound},
		"NUL":               {"ODOO-\x00", "x", 0, billing.ErrPaymentNotFound},
		"was never paid":    {payment.Reference, "x", 0, billing.ErrNothingToRefund},
		"part of nothing":   {payment.Reference, "x", 5, billing.ErrNothingToRefund},
		"reason is a novel": {payment.Reference, string(make([]byte, 501)), 0, billing.ErrRefundReason},
	} {
		_, err := b.refund(root, tc.reference, tc.kobo, tc.reason)
		require.ErrorIs(t, err, tc.want, name)
	}
	require.Zero(t, b.count(`refunds`))
	b.untouched(client.ID)
	_, err = b.pool.Exec(t.Context(), `UPDATE payments SET mode = 'live'`)
	require.NoError(t, err)
	_, err = b.refund(root, payment.Reference, 0, "x")
	require.ErrorIs(t, err, billing.ErrRefundWrongMode)
}

// Whatever becomes of the answer, the money goes back once.
func TestRefund_AnswerLost(t *testing.T) {
	t.Parallel()
	for _, kind := range []simulator.FaultKind{
		simulator.APIError500, simulator.APIError502, simulator.APIMalformed, simulator.APIHTML, simulator.APIDrop, simulator.WebhookBeforeAnswer,
	} {
		for _, before := range []bool{false, true} {
			t.Run(string(kind), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				root, _, payment := b.paid()
				require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: kind, Route: "refund", Times: 1, Before: before}))
				got, err := b.refund(root, payment.Reference, 0, "goodwill")
				require.NoError(t, err)
				require.Contains(t, []billing.RefundState{billing.RefundRequested, billing.RefundPending}, got.State)
				_, err = b.refund(root, payment.Reference, 0, "goodwill")
				require.Error(t, err)
				for range 8 {
					b.pass(3 * time.Minute)
				}
				require.Equal(t, billing.RefundProcessed, b.refundState(got.ID))
				require.Len(t, b.sim.Refunds(), 1)
				require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
				require.Zero(t, b.balance(ledger.RefundsInTransit))
			})
		}
	}
}

func TestRefund_ManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, _, payment := b.paid()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = b.refund(root, payment.Reference, 0, "goodwill") })
		wg.Go(func() { _ = b.PollRefunds(t.Context()) })
	}
	wg.Wait()
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, 1, b.count(`refunds`))
	require.Len(t, b.sim.Refunds(), 1)
}

func TestRefund_Fails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, _, payment := b.paid()
	held := b.balance(ledger.Gateway)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.RefundFails, Times: 1}))
	got, err := b.refund(root, payment.Reference, 0, "goodwill")
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.RefundFailed, b.refundState(got.ID))
	require.Equal(t, billing.StatusSuccess, b.payment(payment.Reference).Status)
	require.Equal(t, held, b.balance(ledger.Gateway))
	require.Zero(t, b.balance(ledger.RefundsInTransit))
	require.Equal(t, 1, b.alerts("refund.failed"))

	again, err := b.refund(root, payment.Reference, 0, "goodwill")
	require.NoError(t, err, "one that failed may be tried again")
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.RefundProcessed, b.refundState(again.ID))
}

func TestRefund_NeedsAttention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, _, payment := b.paid()
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.RefundNeedsAttention, Times: 1}))
	got, err := b.refund(root, payment.Reference, 0, "goodwill")
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.RefundAttention, b.refundState(got.ID))
	require.Equal(t, 1, b.alerts("refund.attention"))
	require.NoError(t, b.sim.FinishRefund(got.GatewayID, "processed"))
	b.settled()
	require.Equal(t, billing.RefundProcessed, b.refundState(got.ID))
	require.Zero(t, b.alerts("refund.attention"))
}

// Somebody gives money back at the gateway's dashboard.
func TestRefund_MadeAtTheGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, payment := b.paid()
	transaction, err := b.gateway.Verify(t.Context(), payment.Reference)
	require.NoError(t, err)
	_, err = b.gateway.Refund(t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: 700_000, Currency: "NGN"})
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, 1, b.count(`refunds WHERE state = 'processed' AND requested_by IS NULL AND amount_kobo = 700000`))
	require.Equal(t, 1, b.count(`payments WHERE refunded_kobo = 700000 AND status = 'success'`))
	require.Zero(t, b.balance(ledger.RefundsInTransit))
}

// A second payment can be given back, and its money is in the books once each way.
func TestRefund_OfASecondPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, first := b.purchase()
	second := b.checkout(p, client)
	for _, reference := range []string{first.Reference, second.Reference} {
		require.NoError(t, b.sim.Pay(reference, ""))
		b.settled()
	}
	require.Equal(t, 1, b.alerts("payment.unused"))
	p.Admin = true
	_, err := b.refund(p, second.Reference, 0, "paid twice")
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, 1, b.count(`credits WHERE resolution = 'refunded'`))
	require.Zero(t, b.alerts("payment.unused"))
	b.activatedOnce(client.ID, first.Reference)
}

// Money that isn't as it was asked for is nobody's until it is given back.
func TestRefund_OfAParkedPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 100_000, Times: 1}))
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	require.Equal(t, int64(-100_000), b.balance(ledger.Suspense))
	require.Equal(t, 1, b.alerts("payment.review"))
	p.Admin = true
	_, err := b.refund(p, payment.Reference, 100_001, "too little was paid")
	require.ErrorIs(t, err, billing.ErrRefundTooMuch)
	_, err = b.refund(p, payment.Reference, 0, "too little was paid")
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	require.Zero(t, b.balance(ledger.Suspense))
	require.Zero(t, b.balance(ledger.Gateway, ledger.Fees), "but for the fee, which the gateway keeps")
	require.Zero(t, b.alerts("payment.review"))
	require.Equal(t, tenants.Pending, b.state(client.ID))
}
