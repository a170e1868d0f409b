package billing_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/ledger"
)

// Two payments that used the same credit are given back at once: one by the gateway's word, one by an administrator. Both wait for a credit note's
// number in the worst moment; neither may hold then what the other needs before it.
func TestLocks_CreditsBeforeCreditNotes(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 2_000_000)
	whole := c.checkout(p, c.client(p, "one", "basic")) // from credit alone
	c.settled()
	part := c.checkout(p, c.client(p, "two", "basic"))
	require.Equal(t, int64(500_000), part.CreditKobo)
	c.pay(part.Reference)
	c.dropWebhooks()
	c.givenBack(part.Reference, part.AmountKobo)

	hold, err := c.pool.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = hold.Rollback(context.WithoutCancel(t.Context())) }) // or the pool never closes
	_, err = hold.Exec(t.Context(), `INSERT INTO invoice_counters (series, year, last) VALUES ('TESTCN', 2026, 0)`)
	require.NoError(t, err)
	done := make(chan error, 2)
	go func() { done <- c.Settle(t.Context(), part.Reference) }()
	c.eventually(func() bool { return c.waiting() == 1 })
	root := accounts.Principal{Username: "root1", Admin: true}
	go func() {
		_, err := c.Refund(t.Context(), root, c.ip, billing.RefundInput{Reference: whole.Reference, Reason: "goodwill"})
		done <- err
	}()
	c.eventually(func() bool { return c.waiting() == 2 })
	require.NoError(t, hold.Rollback(t.Context()))
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Equal(t, int64(-2_000_000), c.balance(ledger.Credit(p.AccountID)))
	require.Equal(t, 2, c.count(`refunds WHERE to_credit AND state = 'processed'`))
	c.balanced()
}

// The same without a script: many payments of one account's credit, all given back at once, each from both sides.
func TestLocks_ManyRefundsAtOnce(t *testing.T) {
	t.Parallel()
	c, p := withCredit(t, 8_000_000)
	root := accounts.Principal{Username: "root1", Admin: true}
	var runs []func() error
	for _, name := range []string{"one", "two", "three", "four", "five", "six"} {
		payment := c.checkout(p, c.client(p, name, "basic"))
		c.settled()
		if payment.AmountKobo > 0 {
			c.pay(payment.Reference)
			c.dropWebhooks()
			c.givenBack(payment.Reference, payment.AmountKobo)
			runs = append(runs, func() error { return c.Settle(t.Context(), payment.Reference) })
			continue
		}
		runs = append(runs, func() error {
			_, err := c.Refund(t.Context(), root, c.ip, billing.RefundInput{Reference: payment.Reference, Reason: "goodwill"})
			return err
		})
	}
	done := make(chan error, len(runs))
	for _, run := range runs {
		go func() { done <- run() }()
	}
	for range runs {
		require.NoError(t, <-done)
	}
	require.Equal(t, int64(-8_000_000), c.balance(ledger.Credit(p.AccountID)))
	c.balanced()
}

// waiting is how many statements of this database wait for a lock.
func (b *bundle) waiting() int {
	b.t.Helper()
	return b.count(`pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
}
