package billing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

func (b *bundle) reconcile() billing.ReconcileRun {
	b.t.Helper()
	run, err := b.Reconcile(b.t.Context())
	require.NoError(b.t, err)
	return run
}

// kinds are those of the open differences.
func (b *bundle) kinds() []string {
	b.t.Helper()
	list, _, err := b.Differences(b.t.Context(), accounts.Principal{Admin: true}, false, 0, 100)
	require.NoError(b.t, err)
	kinds := []string{}
	for _, d := range list {
		kinds = append(kinds, d.Kind)
	}
	return kinds
}

func TestReconcile_NothingToSay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, _, payment := b.paid()
	_, err := b.refund(root, payment.Reference, 300_000, "goodwill")
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(time.Hour)
	run := b.reconcile()
	require.Equal(t, int64(1), run.Transactions)
	require.Zero(t, run.Differences)
	require.Zero(t, run.Healed)
	require.Empty(t, b.kinds())
	require.Zero(t, b.alerts("reconciliation.differences"))
	runs, total, err := b.Runs(t.Context(), root, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.NotNil(t, runs[0].FinishedAt)
}

// Neither webhook nor poller told of it: the list does, and the client gets what was paid for.
func TestReconcile_HealsWhatWasMissed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.advance(time.Hour)
	run := b.reconcile()
	require.Equal(t, int64(1), run.Healed)
	require.Zero(t, run.Differences)
	b.activatedOnce(client.ID, payment.Reference)

	id, err := b.sim.OpenDispute(payment.Reference, "", 0)
	require.NoError(t, err)
	b.advance(time.Hour)
	require.Equal(t, int64(1), b.reconcile().Disputes)
	require.Equal(t, 1, b.count(`disputes WHERE outcome = 'open'`))
	require.NoError(t, b.sim.DecideDispute(id, true))
	require.Zero(t, b.reconcile().Differences)
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	require.Zero(t, b.balance(ledger.Disputes))
}

func TestReconcile_Differences(t *testing.T) {
	t.Parallel()
	imported := func(b *bundle, reference string) {
		require.NoError(b.t, b.sim.Import(simulator.Imported{
			Domain: "test", Reference: reference, Email: "x@example.com", Amount: 5000, Currency: "NGN", PaidAt: b.clock().Add(-time.Hour),
		}))
	}
	for kind, tc := range map[string]struct {
		change func(b *bundle, reference string)
		mend   func(b *bundle, reference string)
	}{
		"unknown_here": {func(b *bundle, _ string) { imported(b, "SHOP-1") }, nil},
		"unknown_there": {func(b *bundle, _ string) {
			b.exec(`INSERT INTO payments (account_id, tenant_id, plan_id, billing_cycle, amount_kobo, currency, mode, email, reference, status, purpose,
					created_at, fees_kobo)
				SELECT account_id, tenant_id, plan_id, billing_cycle, 5000, currency, mode, email, 'ODOO-0123456789AB', 'success', 'credit', created_at, 75
				FROM payments`)
			n, err := b.Backfill(b.t.Context())
			require.NoError(b.t, err)
			require.Equal(b.t, 1, n)
		}, func(b *bundle, _ string) { imported(b, "ODOO-0123456789AB") }},
		"mode": {func(b *bundle, _ string) { b.distort(func(t *billing.Transaction) { t.Mode = "live" }) }, func(b *bundle, _ string) { b.gateway.alter(nil) }},
		"currency": {func(b *bundle, _ string) { b.distort(func(t *billing.Transaction) { t.Currency = "GHS" }) }, func(b *bundle, _ string) {
			b.gateway.alter(nil)
		}},
		"amount":         {func(b *bundle, r string) { b.exec(`UPDATE payments SET amount_kobo = 5 WHERE reference = $1`, r) }, nil},
		"unpaid_there":   {func(b *bundle, r string) { require.NoError(b.t, b.sim.SetStatus(r, "failed")) }, func(b *bundle, r string) { require.NoError(b.t, b.sim.SetStatus(r, "success")) }},
		"reversed_there": {func(b *bundle, r string) { require.NoError(b.t, b.sim.SetStatus(r, "reversed")) }, nil},
		"refunded_here": {func(b *bundle, r string) { b.exec(`UPDATE payments SET status = 'refunded' WHERE reference = $1`, r) }, func(b *bundle, r string) {
			b.exec(`UPDATE payments SET status = 'success' WHERE reference = $1`, r)
		}},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			root, _, payment := b.paid()
			b.advance(2 * time.Hour)
			tc.change(b, payment.Reference)
			require.Equal(t, int64(1), b.reconcile().Differences)
			require.Equal(t, []string{kind}, b.kinds())
			require.Equal(t, 1, b.alerts("reconciliation.differences"))
			require.Equal(t, int64(1), b.reconcile().Differences, "one row, however often it is seen")
			require.Equal(t, 1, b.count(`reconciliation_differences`))
			if tc.mend != nil {
				tc.mend(b, payment.Reference)
				require.Zero(t, b.reconcile().Differences)
				require.Equal(t, 1, b.count(`reconciliation_differences WHERE resolution = 'gone'`))
				require.Zero(t, b.alerts("reconciliation.differences"))
				return
			}
			list, _, err := b.Differences(t.Context(), root, false, 0, 10)
			require.NoError(t, err)
			require.ErrorIs(t, b.Explain(t.Context(), root, b.ip, list[0].ID, " "), billing.ErrExplanationEmpty)
			require.NoError(t, b.Explain(t.Context(), root, b.ip, list[0].ID, "the bookkeeper knows"))
			require.ErrorIs(t, b.Explain(t.Context(), root, b.ip, list[0].ID, "again"), billing.ErrDifferenceGone)
			require.Zero(t, b.alerts("reconciliation.differences"))
			require.Zero(t, b.reconcile().Differences, "what is explained stays so")
		})
	}
}

// Money that isn't as it was asked for is a difference until a person has given it back.
func TestReconcile_ParkedMoney(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 100_000, Times: 1}))
	p, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.advance(time.Hour)
	b.reconcile()
	require.Equal(t, []string{"amount"}, b.kinds())
	p.Admin = true
	_, err := b.refund(p, payment.Reference, 0, "too little")
	require.NoError(t, err)
	b.pass(2 * time.Minute)
	b.pass(2 * time.Minute)
	b.reconcile()
	require.Empty(t, b.kinds())
	require.Equal(t, tenants.Pending, b.state(client.ID))
}

func TestReconcile_GatewayDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, _, _ := b.paid()
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APIError500, Route: "list"}))
	_, err := b.Reconcile(t.Context())
	require.Error(t, err)
	runs, _, err := b.Runs(t.Context(), root, 0, 10)
	require.NoError(t, err)
	require.Contains(t, runs[0].Error, "compare the gateway's transactions")
}

func TestReconcile_OneThatCannotBeAppliedDoesNotHideOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	p := b.account("ada")
	for _, name := range []string{"acme", "globex"} {
		require.NoError(t, b.sim.Pay(b.checkout(p, b.client(p, name, "basic")).Reference, ""))
	}
	b.provisioner = func() error { return errors.New("a fault of ours") }
	b.advance(time.Hour)
	require.Equal(t, int64(2), b.reconcile().Differences)
	require.Equal(t, []string{"unpaid_here", "unpaid_here"}, b.kinds())
	b.provisioner = nil
	b.advance(24 * time.Hour)
	require.Zero(t, b.reconcile().Differences, "the next run heals both")
}

func TestReconcile_OnlyAdmins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.account("ada")
	_, _, err := b.Differences(t.Context(), p, false, 0, 10)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	_, _, err = b.Runs(t.Context(), p, 0, 10)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	require.ErrorIs(t, b.Explain(t.Context(), p, b.ip, 1, "x"), billing.ErrAdminOnly)
}

// distort lets the gateway say something else of a transaction, whose change here makes it be asked about.
func (b *bundle) distort(change func(*billing.Transaction)) {
	b.t.Helper()
	b.gateway.alter(change)
	b.exec(`UPDATE payments SET fees_kobo = NULL`)
}

func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}
