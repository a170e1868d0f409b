package billing_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/tenants"
)

const (
	yearSubscribers = 200
	yearSeed        = 2026
	yearStep        = 12 * time.Hour
)

// year is a calendar with many customers, who pay, dither and change their minds by chance, and a gateway at which everything goes wrong.
type year struct {
	*calendar
	rand   *rand.Rand
	people []accounts.Principal
}

func TestYear(t *testing.T) {
	t.Parallel()
	y := &year{calendar: setupCalendar(t), rand: seeded(yearSeed)}
	for i := range yearSubscribers {
		y.join(i)
	}
	y.settled()
	for day := range 365 {
		y.mishaps()
		for range int(24 * time.Hour / yearStep) {
			y.sim.Advance(yearStep)
			y.advance(yearStep)
			y.run()
			y.whims()
		}
		y.fair(day)
		_, _ = y.Reconcile(y.t.Context()) // the gateway may not answer today
	}
	y.sim.ClearFaults()
	y.pass(5*24*time.Hour, yearStep)
	y.fair(370)
	y.complete()
}

func (y *year) join(i int) {
	y.t.Helper()
	p := y.account(fmt.Sprintf("user%d", i))
	plan := []string{"basic", "basic", "business", "enterprise"}[y.rand.IntN(4)]
	client := y.client(p, fmt.Sprintf("client-%d", i), plan)
	cycle := "monthly"
	if y.rand.IntN(10) == 0 {
		cycle = "annual"
	}
	payment, err := y.Initialize(y.t.Context(), p, y.ip, billing.InitializeInput{PlanID: plan, BillingCycle: cycle, ClientName: client.Name})
	require.NoError(y.t, err)
	card := ""
	if y.rand.IntN(5) == 0 {
		card = "507850785078507812" // can't be charged again
	}
	require.NoError(y.t, y.sim.Pay(payment.Reference, card))
	if i%7 == 6 { // not all on one day
		y.sim.Advance(8 * time.Hour)
		y.advance(8 * time.Hour)
	}
	y.people = append(y.people, p)
}

// mishaps turns other switches on each day.
func (y *year) mishaps() {
	y.sim.ClearFaults()
	for _, f := range []simulator.Fault{
		{Kind: simulator.ChargeDecline, OneIn: 4},
		{Kind: simulator.ChargePaused, OneIn: 12},
		{Kind: simulator.AuthorizationRotates, OneIn: 3},
		{Kind: simulator.ChargePending, OneIn: 10, Delay: simulator.Duration(6 * time.Hour)},
		{Kind: simulator.APIError500, OneIn: 25},
		{Kind: simulator.APIError502, OneIn: 25, Before: true},
		{Kind: simulator.APIDrop, OneIn: 25},
		{Kind: simulator.APIHTML, OneIn: 30},
		{Kind: simulator.APIMalformed, OneIn: 30},
		{Kind: simulator.APIDrop, OneIn: 25, Before: true},
		{Kind: simulator.LooseTypes, OneIn: 3},
		{Kind: simulator.WebhookDrop, OneIn: 4},
		{Kind: simulator.WebhookDuplicate, OneIn: 5, Amount: 2},
		{Kind: simulator.WebhookReorder, OneIn: 5},
		{Kind: simulator.WebhookDelay, OneIn: 5, Delay: simulator.Duration(20 * time.Hour)},
		{Kind: simulator.WebhookBadSignature, OneIn: 8},
		{Kind: simulator.WebhookOtherKey, OneIn: 8},
		{Kind: simulator.WebhookTamper, OneIn: 8, Amount: 1},
	} {
		if y.rand.IntN(2) == 0 {
			y.fault(f)
		}
	}
}

// whims is what customers do: some who were sent a link pay by it, others cancel, come back, change their plan.
func (y *year) whims() {
	y.t.Helper()
	rows, err := y.pool.Query(y.t.Context(), `SELECT reference FROM payments WHERE status IN ('pending', 'failed') AND authorization_url IS NOT NULL
		AND created_at > $1 ORDER BY id`, y.clock().Add(-9*24*time.Hour))
	require.NoError(y.t, err)
	var open []string
	for rows.Next() {
		var reference string
		require.NoError(y.t, rows.Scan(&reference))
		open = append(open, reference)
	}
	require.NoError(y.t, rows.Err())
	for _, reference := range open {
		if y.rand.IntN(6) == 0 {
			_ = y.sim.Pay(reference, "") // it may be paid already, and we don't know
		}
	}
	p := y.people[y.rand.IntN(len(y.people))]
	switch y.rand.IntN(12) {
	case 0:
		_, _ = y.Cancel(y.t.Context(), p, y.ip, "")
	case 1, 2:
		_, _ = y.Reactivate(y.t.Context(), p, y.ip, "")
	case 3, 4:
		plan := []string{"basic", "business", "enterprise"}[y.rand.IntN(3)]
		_, _ = y.ChangePlan(y.t.Context(), p, y.ip, "", plan, false)
	}
}

// fair checks what has to be true on every day.
func (y *year) fair(day int) {
	y.t.Helper()
	y.balanced()
	require.Zero(y.t, y.count(`tenants t JOIN subscriptions s ON s.tenant_id = t.id WHERE s.status = 'active' AND s.period_end > $1
		AND (t.desired = 'suspended' OR t.suspended_by = 'billing' AND t.desired <> 'active')`, y.clock()), "day %d: somebody who has paid is suspended", day)
	require.Zero(y.t, y.count(`tenants t JOIN subscriptions s ON s.tenant_id = t.id WHERE s.status = 'active' AND s.period_end > $1
		AND t.state IN ('scheduled_for_deletion', 'deleting', 'deleted')`, y.clock()), "day %d: somebody who has paid is deleted", day)
	rows, err := y.pool.Query(y.t.Context(), `SELECT t.name, s.period_end FROM tenants t JOIN subscriptions s ON s.tenant_id = t.id
		WHERE t.state = 'active' AND t.desired = 'active' AND s.period_end < $1 AND s.status <> 'ended'`, y.clock().Add(-8*24*time.Hour))
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
		excused, err := y.OutageBetween(y.t.Context(), end, y.clock())
		require.NoError(y.t, err)
		// A charge that the bank holds back, and each step's having to wait for ours, are no more than these days.
		require.Less(y.t, y.clock().Sub(end)-excused, 12*24*time.Hour, "day %d: %s stays on unpaid", day, name)
	}
}

// complete checks that what was paid at the gateway, and only that, is paid here.
func (y *year) complete() {
	y.t.Helper()
	run, err := y.Reconcile(y.t.Context())
	require.NoError(y.t, err)
	require.Zero(y.t, run.Differences, "unexplained")
	y.settled()
	y.fair(371)
	paid := map[string]int64{}
	for _, t := range y.sim.Transactions() {
		if t.Status == "success" {
			paid[t.Reference] = t.Amount
		}
	}
	rows, err := y.pool.Query(y.t.Context(), `SELECT reference, amount_kobo FROM payments WHERE status = 'success' OR review IS NOT NULL`)
	require.NoError(y.t, err)
	ours := map[string]int64{}
	for rows.Next() {
		var reference string
		var amount int64
		require.NoError(y.t, rows.Scan(&reference, &amount))
		ours[reference] = amount
	}
	require.NoError(y.t, rows.Err())
	for reference, amount := range ours {
		require.Equal(y.t, paid[reference], amount, reference)
	}
	require.Len(y.t, ours, len(paid))
	y.t.Logf("%d payments, %d of them renewals, %d credits, %d clients gone", len(ours),
		y.count(`payments WHERE status = 'success' AND purpose = 'renewal'`), y.count(`credits`),
		y.count(`tenants WHERE state IN ($1, $2)`, tenants.Scheduled, tenants.Deleted))
	require.Greater(y.t, len(ours), 4*yearSubscribers)
}
