package billing_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/ledger"
)

// bookAll posts each payment without a fee and without an invoice, quickly.
func (b *bundle) bookAll() {
	b.t.Helper()
	require.NoError(b.t, pgx.BeginFunc(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(b.t.Context(), `
			INSERT INTO ledger_entries (key, mode, at, kind, account_id, payment_id) SELECT 'payment/' || reference, mode, now(), 'payment', account_id, id FROM payments`)
		if err != nil {
			return err
		}
		_, err = tx.Exec(b.t.Context(), `
			INSERT INTO ledger_lines (entry_id, position, ledger_account_id, currency, debit_kobo, credit_kobo)
			SELECT e.id, l.position, a.id, p.currency, l.debit * p.amount_kobo, l.credit * p.amount_kobo
			FROM ledger_entries e JOIN payments p ON p.id = e.payment_id
			CROSS JOIN (VALUES (1, 'gateway', 1, 0), (2, 'suspense', 0, 1)) AS l (position, name, debit, credit) JOIN ledger_accounts a ON a.name = l.name`)
		return err
	}))
}

// unbook makes all payments as old as if there had been no books.
func (b *bundle) unbook() {
	b.t.Helper()
	b.exec(`UPDATE payments SET reference = 'ODOO-' || upper(substr(md5(reference), 1, 12))`)
}

// Money of which the books know nothing is a difference until it is booked, which is done once.
func TestBackfill(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, client, first := b.purchase()
	second := b.checkout(p, client)
	for _, reference := range []string{first.Reference, second.Reference} {
		require.NoError(t, b.sim.Pay(reference, ""))
		b.settled()
	}
	before := b.balances()
	b.unbook()
	require.Equal(t, 2, b.count(`payments WHERE NOT EXISTS (SELECT FROM ledger_entries WHERE key = 'payment/' || reference)`))
	b.advance(time.Hour)
	b.reconcile()
	require.Contains(t, b.kinds(), "unbooked")

	n, err := b.Backfill(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	for account, kobo := range b.balances() {
		if account != ledger.Fees && account != ledger.Gateway { // the first fee stays as it is
			require.Equal(t, 2*before[account], kobo, account)
		}
	}
	require.Len(t, b.invoices(p), 2, "the sale again, the credit never")
	again, err := b.Backfill(t.Context())
	require.NoError(t, err)
	require.Zero(t, again)
	b.reconcile()
	require.NotContains(t, b.kinds(), "unbooked")
}

// What was reversed before there were books came, and went.
func TestBackfill_OfAReversedPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, payment := b.paid()
	require.NoError(t, b.sim.SetStatus(payment.Reference, "reversed"))
	require.NoError(t, b.Settle(t.Context(), payment.Reference))
	suspense := b.balance(ledger.Suspense)
	require.Equal(t, payment.AmountKobo, suspense)
	b.unbook()
	n, err := b.Backfill(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 2*suspense, b.balance(ledger.Suspense))
}

func TestReconcile_CorrectsFees(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, payment := b.paid()
	b.advance(time.Hour)
	fees := b.balance(ledger.Fees)
	b.exec(`UPDATE payments SET fees_kobo = 1`)
	run := b.reconcile()
	require.Equal(t, int64(1), run.Healed)
	require.Equal(t, fees, b.balance(ledger.Fees), "the books were right")
	require.Equal(t, 1, b.count(`payments WHERE fees_kobo = $1`, fees))

	b.gateway.alter(func(t *billing.Transaction) { *t.FeesKobo += 25 })
	b.exec(`UPDATE payments SET fees_kobo = 1`)
	run = b.reconcile()
	require.Equal(t, int64(1), run.Healed)
	require.Equal(t, fees+25, b.balance(ledger.Fees))
	require.Equal(t, payment.AmountKobo-fees-25, b.balance(ledger.Gateway))
}

// Somebody gives a part back at the gateway's dashboard, and no event tells of it.
func TestReconcile_FindsRefundsThatNobodyToldOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, payment := b.paid()
	b.dropWebhooks()
	transaction, err := b.gateway.Verify(t.Context(), payment.Reference)
	require.NoError(t, err)
	give := func(kobo int64) {
		_, err := b.gateway.Refund(t.Context(), billing.RefundRequest{TransactionID: transaction.ID, AmountKobo: kobo, Currency: "NGN"})
		require.NoError(t, err)
		list := b.sim.Refunds()
		require.NoError(t, b.sim.FinishRefund(list[len(list)-1].ID, "processed"))
	}
	give(400_000)
	give(100_000)
	b.advance(time.Hour)
	require.Zero(t, b.count(`refunds`))
	run := b.reconcile()
	require.Equal(t, int64(1), run.Healed)
	require.Zero(t, run.Differences)
	require.Equal(t, 2, b.count(`refunds WHERE state = 'processed' AND requested_by IS NULL`))
	require.Equal(t, 1, b.count(`payments WHERE refunded_kobo = 500000 AND status = 'success'`))
	require.Zero(t, b.balance(ledger.RefundsInTransit))
	run = b.reconcile()
	require.Zero(t, run.Healed+run.Differences)

	b.exec(`UPDATE payments SET gateway_id = 1`) // as of a payment that isn't ours
	b.reconcile()
	require.Equal(t, 2, b.count(`reconciliation_differences WHERE kind = 'refund_unknown' AND resolved_at IS NULL`))
	require.Equal(t, 1, b.alerts("reconciliation.differences"))
}
