package billing_test

import (
	"fmt"
	"regexp"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// fair checks what has to be true on every day.
func (y *year) fair() {
	y.t.Helper()
	y.balanced()
	require.Zero(y.t, y.count(`(SELECT subscription_id, period_start FROM payments WHERE charged AND status = 'success' AND from_plan_id IS NULL
		GROUP BY 1, 2 HAVING count(*) > 1) AS x`), "day %d: a card was charged twice for a period", y.day)
	require.Zero(y.t, y.count(`tenants t JOIN subscriptions s ON s.tenant_id = t.id WHERE s.status = 'active' AND s.period_end > $1
		AND (t.desired = 'suspended' OR t.suspended_by = 'billing' AND t.desired <> 'active'
			OR t.state IN ('scheduled_for_deletion', 'deleting', 'deleted'))`, y.clock()), "day %d: somebody who has paid is suspended or deleted", y.day)
	y.nobodyStaysUnpaid()
}

func (y *year) nobodyStaysUnpaid() {
	y.t.Helper()
	// While we hold money that isn't as it was asked for, nobody is taken for unpaid: the days count from when it went back.
	rows, err := y.pool.Query(y.t.Context(), `SELECT t.name, greatest(s.period_end,
			(SELECT max(completed_at) FROM payments p WHERE p.subscription_id = s.id AND p.received_kobo > 0))
		FROM tenants t JOIN subscriptions s ON s.tenant_id = t.id
		WHERE t.state = 'active' AND t.desired = 'active' AND s.period_end < $1 AND s.status <> 'ended'
			AND NOT EXISTS (SELECT FROM payments p WHERE p.subscription_id = s.id AND p.review IS NOT NULL AND p.status = 'pending')`,
		y.clock().Add(-8*24*time.Hour))
	require.NoError(y.t, err)
	late := map[string]time.Time{}
	for rows.Next() {
		var name string
		var end time.Time
		require.NoError(y.t, rows.Scan(&name, &end))
		late[name] = end
	}
	require.NoError(y.t, rows.Err())
	for name, end := range late {
		excused, err := y.Excused(y.t.Context(), end, y.clock())
		require.NoError(y.t, err)
		// A charge that the bank holds back, and each step's having to wait for ours, are no more than these days.
		require.Less(y.t, y.clock().Sub(end)-excused, 12*24*time.Hour, "day %d: %s stays on unpaid", y.day, name)
	}
}

func (y *year) giveBack(reference string) {
	y.t.Helper()
	_, _ = y.Refund(y.t.Context(), y.root, y.ip, billing.RefundInput{Reference: reference, Reason: fmt.Sprintf("day %d", y.day)})
}

// complete checks that what is at the gateway, and only that, is in our rows and in our books.
func (y *year) complete() {
	y.t.Helper()
	run, err := y.Reconcile(y.t.Context())
	require.NoError(y.t, err)
	list, _, err := y.Differences(y.t.Context(), y.root, false, 0, 100)
	require.NoError(y.t, err)
	require.Zero(y.t, run.Differences, "unexplained: %+v", list)
	require.Zero(y.t, y.count(`payment_events WHERE applied_at IS NULL`))
	y.fair()
	type money struct{ came, went int64 }
	theirs, holds := map[string]money{}, int64(0)
	lost := map[string]int64{}
	for _, d := range y.sim.Disputes() {
		if d.Resolution != "declined" {
			lost[d.Reference] += d.Amount
		}
	}
	for _, t := range y.sim.Transactions() {
		if t.PaidAt != nil {
			theirs[t.Reference] = money{t.Amount, t.Refunded + lost[t.Reference]}
			holds += t.Amount - t.Fees - t.Refunded - lost[t.Reference]
		}
	}
	rows, err := y.pool.Query(y.t.Context(), `SELECT reference, coalesce(received_kobo, amount_kobo), refunded_kobo FROM payments
		WHERE (status IN ('success', 'refunded') OR review IS NOT NULL) AND amount_kobo > 0`) // credit alone is none of the gateway's
	require.NoError(y.t, err)
	ours := map[string]money{}
	for rows.Next() {
		var reference string
		var m money
		require.NoError(y.t, rows.Scan(&reference, &m.came, &m.went))
		ours[reference] = m
	}
	require.NoError(y.t, rows.Err())
	for reference, m := range theirs {
		require.Equal(y.t, m, ours[reference], reference)
	}
	require.Len(y.t, ours, len(theirs))
	require.Equal(y.t, holds, y.balance(ledger.Gateway), "what the gateway holds for us")
	require.Zero(y.t, y.balance(ledger.RefundsInTransit))
	require.Zero(y.t, y.balance(ledger.Disputes))
	require.Zero(y.t, y.balance(ledger.Suspense))
}

// tell says what kind of a year it was, and that it wasn't an idle one.
func (y *year) tell() {
	y.t.Helper()
	for _, what := range []string{
		`payments WHERE status = 'success' AND purpose = 'renewal'`, `payments WHERE status = 'success' AND purpose = 'upgrade'`,
		`payments WHERE status = 'refunded'`, `credits`, `refunds WHERE requested_by IS NULL`, `refunds WHERE state = 'processed'`,
		`refunds WHERE state = 'failed'`, `disputes WHERE outcome = 'won'`, `disputes WHERE outcome = 'lost'`, `gateway_outages`, `billing_gaps`,
		`tenants WHERE state = 'deleted'`, `subscriptions`, `payment_events`, `notices WHERE kind = 'subscription.suspended'`,
	} {
		n := y.count(what)
		y.t.Logf("%6d %s", n, what)
		require.Positive(y.t, n, what)
	}
	require.Greater(y.t, y.count(`payments WHERE status = 'success'`), 5*yearSubscribers)
	y.t.Logf("%d clients gone", y.count(`tenants WHERE state IN ($1, $2)`, tenants.Scheduled, tenants.Deleted))
}

// outcome is all that a year came to, without what is random by design: references and seals. A payment goes by its number.
func (y *year) outcome() []string {
	y.t.Helper()
	names := map[string]string{}
	for i, reference := range y.references(`ORDER BY id`) {
		names[reference] = fmt.Sprintf("P%d", i+1)
	}
	pattern := regexp.MustCompile(`ODOO-[0-9A-F]{12}`)
	var out []string
	for _, sql := range []string{
		`SELECT concat_ws(' ', id, name, state, desired, plan_id, suspended_by, payment_status, payment_reference, paid_at, deletion_scheduled_at) FROM tenants ORDER BY id`,
		`SELECT (to_jsonb(p) - 'authorization_url')::text FROM payments p ORDER BY id`,
		`SELECT to_jsonb(s)::text FROM subscriptions s ORDER BY id`,
		`SELECT concat_ws(' ', e.key, e.kind, e.at, a.name, l.debit_kobo, l.credit_kobo) FROM ledger_entries e JOIN ledger_lines l ON l.entry_id = e.id
			JOIN ledger_accounts a ON a.id = l.ledger_account_id ORDER BY e.id, a.name, l.debit_kobo`,
		`SELECT concat_ws(' ', number, issued_at, gross_kobo, payment_id, credits_id) FROM invoices ORDER BY id`,
		`SELECT (to_jsonb(r) - 'note')::text FROM refunds r ORDER BY id`,
		`SELECT (to_jsonb(d) - 'updated_at')::text FROM disputes d ORDER BY id`,
		`SELECT (to_jsonb(c))::text FROM credits c ORDER BY id`,
		`SELECT concat_ws(' ', event, reference, outcome, received_at, applied_at) FROM payment_events ORDER BY id`,
		`SELECT concat_ws(' ', kind, subject, resolved_at IS NULL) FROM alerts ORDER BY id`,
		`SELECT concat_ws(' ', kind, account_id, tenant_id, count(*)) FROM notices GROUP BY kind, account_id, tenant_id ORDER BY kind, account_id, tenant_id`,
		`SELECT to_jsonb(o)::text FROM gateway_outages o ORDER BY began_at`,
		`SELECT to_jsonb(r)::text FROM reconciliation_runs r ORDER BY id`,
	} {
		rows, err := y.pool.Query(y.t.Context(), sql)
		require.NoError(y.t, err)
		for rows.Next() {
			var line string
			require.NoError(y.t, rows.Scan(&line))
			out = append(out, pattern.ReplaceAllStringFunc(line, func(reference string) string { return names[reference] }))
		}
		require.NoError(y.t, rows.Err(), sql)
	}
	return out
}
