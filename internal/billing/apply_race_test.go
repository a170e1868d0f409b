package billing_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
)

// together has twenty workers apply the newest event of a name at once, each as the queue would have it done.
func (y *year) together(event string) {
	y.t.Helper()
	var id int64
	require.NoError(y.t, y.pool.QueryRow(y.t.Context(), `SELECT max(id) FROM payment_events WHERE event = $1`, event).Scan(&id))
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = y.ApplyEvent(y.t.Context(), id) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(y.t, err)
	}
}

// once is how often something is there that must be there once.
func (y *year) once(what ...string) {
	y.t.Helper()
	for _, w := range what {
		require.Equal(y.t, 1, y.count(w), w)
	}
}

func TestEvents_ByTwentyWorkersAtOnce(t *testing.T) {
	t.Parallel()
	told := func(y *year) { require.NoError(y.t, y.sim.Settle(y.t.Context())) }
	for name, tc := range map[string]struct {
		event   string
		prepare func(y *year)
		check   func(y *year)
	}{
		"checkout": {"charge.success", func(y *year) {
			_, _, payment := y.purchase()
			require.NoError(y.t, y.sim.Pay(payment.Reference, ""))
			told(y)
		}, func(y *year) {
			y.once(`payments WHERE status = 'success' AND purpose = 'activation'`, `subscriptions`, `invoices`, `ledger_entries WHERE kind = 'payment'`,
				`operations WHERE kind = 'tenant.provision'`, `activity_log WHERE action = 'payment.success'`, `payment_authorizations`)
		}},
		"renewal": {"charge.success", func(y *year) {
			y.fault(simulator.Fault{Kind: simulator.ChargeDecline})
			y.buys("basic", "")
			y.due(10 * days)
			require.NoError(y.t, y.sim.Pay(y.link(), ""))
			told(y)
		}, func(y *year) {
			y.once(`payments WHERE status = 'success' AND purpose = 'renewal'`, `operations WHERE kind = 'tenant.resume'`,
				`subscriptions WHERE status = 'active' AND period_end = '2026-03-31T10:00:00Z'`)
			require.Equal(y.t, 2, y.count(`invoices`))
			require.Zero(y.t, y.count(`credits`))
		}},
		"upgrade": {"charge.success", func(y *year) {
			p, _, _ := y.buys("basic", cash)
			y.pass(10*days, 12*hours)
			change, err := y.ChangePlan(y.t.Context(), p, y.ip, "", "business", false)
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.Pay(change.Reference, ""))
			told(y)
		}, func(y *year) {
			y.once(`payments WHERE status = 'success' AND purpose = 'upgrade'`, `tenants WHERE plan_id = 'business'`, `operations WHERE kind = 'tenant.resize'`)
			require.Equal(y.t, 2, y.count(`invoices`))
			require.Zero(y.t, y.count(`credits`))
		}},
		"refund": {"refund.processed", func(y *year) {
			_, _, payment := y.buys("basic", "")
			order, err := y.refund(y.root, payment.Reference, 0, "goodwill")
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.FinishRefund(order.GatewayID, "processed"))
			told(y)
		}, func(y *year) {
			y.once(`refunds WHERE state = 'processed'`, `payments WHERE status = 'refunded' AND refunded_kobo = amount_kobo`,
				`ledger_entries WHERE kind = 'refund_processed'`, `invoices WHERE credits_id IS NOT NULL`, `activity_log WHERE action = 'payment.refunded'`)
			require.Zero(y.t, y.balance(ledger.RefundsInTransit))
		}},
		"refund of a part": {"refund.processed", func(y *year) {
			_, _, payment := y.buys("basic", "")
			order, err := y.refund(y.root, payment.Reference, 400_000, "goodwill")
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.FinishRefund(order.GatewayID, "processed"))
			told(y)
		}, func(y *year) {
			y.once(`payments WHERE status = 'success' AND refunded_kobo = 400000`, `ledger_entries WHERE kind = 'refund_processed'`,
				`invoices WHERE credits_id IS NOT NULL`)
		}},
		"refund at the dashboard": {"refund.processed", func(y *year) {
			_, _, payment := y.buys("basic", "")
			transaction, err := y.gateway.Verify(y.t.Context(), payment.Reference)
			require.NoError(y.t, err)
			made, err := y.gateway.Refund(y.t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: 400_000, Currency: "NGN"})
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.FinishRefund(made.ID, "processed"))
			told(y)
		}, func(y *year) {
			y.once(`refunds`, `refunds WHERE state = 'processed' AND requested_by IS NULL`, `payments WHERE refunded_kobo = 400000`,
				`ledger_entries WHERE kind = 'refund_processed'`)
		}},
		"dispute opened": {"charge.dispute.create", func(y *year) { y.disputed() }, func(y *year) {
			y.once(`disputes`, `disputes WHERE outcome = 'open'`, `ledger_entries WHERE kind = 'dispute'`, `alerts WHERE kind = 'dispute.open'`)
		}},
		"dispute reminded of, and new to us": {"charge.dispute.remind", func(y *year) {
			y.disputed()
			y.sim.Advance(5 * hours)
		}, func(y *year) { y.once(`disputes`, `ledger_entries WHERE kind = 'dispute'`) }},
		"dispute won": {"charge.dispute.resolve", func(y *year) {
			require.NoError(y.t, y.sim.DecideDispute(y.disputed(), false))
			told(y)
		}, func(y *year) {
			y.once(`disputes WHERE outcome = 'won'`, `ledger_entries WHERE kind = 'dispute_won'`, `payments WHERE status = 'success'`)
			require.Zero(y.t, y.balance(ledger.Disputes))
		}},
		"dispute lost": {"charge.dispute.resolve", func(y *year) {
			require.NoError(y.t, y.sim.DecideDispute(y.disputed(), true))
			told(y)
		}, func(y *year) {
			y.once(`disputes WHERE outcome = 'lost'`, `ledger_entries WHERE kind = 'dispute_lost'`, `payments WHERE status = 'refunded'`)
			require.Zero(y.t, y.balance(ledger.Disputes))
			require.Equal(y.t, int64(1_500_000), y.balance(ledger.WriteOffs))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := setupYear(t, 7, 0)
			tc.prepare(y)
			y.together(tc.event)
			tc.check(y)
			before := y.money()
			y.together(tc.event)
			require.Equal(t, before, y.money(), "another twenty change nothing")
			y.drain()
			y.balanced()
			tc.check(y)
		})
	}
}
