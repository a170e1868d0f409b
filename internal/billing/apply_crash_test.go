package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/tenants"
)

// accident is something that a process may die in the middle of.
type accident struct {
	name    string
	prepare func(y *year) string // returns a payment's reference, or an event's name
	do      func(y *year, s *billing.Service, what string) error
	after   func(y *year)
}

func settle(y *year, s *billing.Service, reference string) error {
	return s.Settle(y.t.Context(), reference)
}

// renew lets so much time go by that whoever comes next may do what a dead one had claimed.
func renew(y *year, s *billing.Service, _ string) error {
	_, err := s.Renew(y.t.Context())
	y.sim.Advance(6 * time.Minute)
	return err
}

// handle applies the newest event of a name.
func handle(y *year, s *billing.Service, event string) error {
	var id int64
	require.NoError(y.t, y.pool.QueryRow(y.t.Context(), `SELECT max(id) FROM payment_events WHERE event = $1`, event).Scan(&id))
	return s.ApplyEvent(y.t.Context(), id)
}

// buys makes a customer whose client runs, with a card or by other means.
func (y *year) buys(plan, card string) (accounts.Principal, tenants.Tenant, billing.Payment) {
	y.t.Helper()
	p := y.account("ada")
	client := y.client(p, "acme", plan)
	payment := y.checkout(p, client)
	require.NoError(y.t, y.sim.Pay(payment.Reference, card))
	y.work()
	require.Equal(y.t, tenants.Active, y.state(client.ID))
	return p, client, payment
}

// due lets the first period of a client that was just bought end, and some days go by.
func (y *year) due(after time.Duration) {
	y.t.Helper()
	y.pass(28*days+after, 12*hours)
}

// paid has the newest link paid, without our hearing of it.
func (y *year) paidByLink() string {
	y.t.Helper()
	y.dropWebhooks()
	reference := y.link()
	require.NoError(y.t, y.sim.Pay(reference, ""))
	return reference
}

func (y *year) disputed() (id int64) {
	y.t.Helper()
	_, _, payment := y.buys("basic", "")
	id, err := y.sim.OpenDispute(payment.Reference, "", 0)
	require.NoError(y.t, err)
	require.NoError(y.t, y.sim.Settle(y.t.Context()))
	return id
}

func accidents() []accident {
	declined := simulator.Fault{Kind: simulator.ChargeDecline}
	return []accident{
		{"renewal by link", func(y *year) string {
			y.buys("basic", cash)
			y.due(0)
			return y.paidByLink()
		}, settle, nil},
		{"renewal of a suspended client", func(y *year) string {
			y.fault(declined)
			y.buys("basic", "")
			y.due(10 * days)
			require.Equal(y.t, 1, y.count(`tenants WHERE state = 'suspended'`))
			return y.paidByLink()
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`tenants WHERE state = 'active'`)) }},
		{"renewal of one that is scheduled for deletion", func(y *year) string {
			y.fault(declined)
			y.buys("basic", "")
			y.due(29 * days)
			require.Equal(y.t, 1, y.count(`tenants WHERE state = 'scheduled_for_deletion'`))
			return y.paidByLink()
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`tenants WHERE state = 'active'`)) }},
		{"renewal by card", func(y *year) string {
			y.buys("basic", "")
			y.due(-hours)
			y.dropWebhooks()
			y.sim.Advance(2 * hours)
			return ""
		}, renew, func(y *year) { require.Equal(y.t, 1, y.count(`payments WHERE charged AND status = 'success'`)) }},
		{"upgrade", func(y *year) string {
			p, _, _ := y.buys("basic", cash)
			y.pass(10*days, 12*hours)
			change, err := y.ChangePlan(y.t.Context(), p, y.ip, "", "business", false)
			require.NoError(y.t, err)
			require.Equal(y.t, billing.PlanPaymentRequired, change.Outcome)
			return y.paidByLink()
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`tenants WHERE plan_id = 'business'`)) }},
		{"downgrade at the period's end", func(y *year) string {
			p, _, _ := y.buys("business", cash)
			_, err := y.ChangePlan(y.t.Context(), p, y.ip, "", "basic", false)
			require.NoError(y.t, err)
			y.due(0)
			return y.paidByLink()
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`tenants WHERE plan_id = 'basic'`)) }},
		{"a second payment, which becomes a credit", func(y *year) string {
			y.buys("basic", cash)
			y.due(0)
			first := y.link()
			y.due(-26 * days)
			require.NotEqual(y.t, first, y.link())
			require.NoError(y.t, y.sim.Pay(first, ""))
			y.work()
			return y.paidByLink()
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`credits`)) }},
		{"a renewal when there is a credit", func(y *year) string {
			p, client, _ := y.buys("basic", cash)
			y.due(0)
			y.pay2(p, client)
			y.root.Admin = true
			list, _, err := y.Credits(y.t.Context(), y.root, 0, 10)
			require.NoError(y.t, err)
			require.NoError(y.t, y.KeepCredit(y.t.Context(), y.root, y.ip, list[0].ID, "for the next month"))
			y.pass(30*days+12*hours, 12*hours)
			y.dropWebhooks()
			y.sim.Advance(12 * hours)
			return ""
		}, renew, func(y *year) {
			require.Equal(y.t, 1, y.count(`payments WHERE status = 'success' AND credit_kobo = 1500000 AND amount_kobo = 0`), "paid by credit")
		}},
		{"refund", func(y *year) string {
			_, _, payment := y.buys("basic", "")
			order, err := y.refund(y.root, payment.Reference, 0, "goodwill")
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.FinishRefund(order.GatewayID, "processed"))
			return payment.Reference
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`refunds WHERE state = 'processed'`)) }},
		{"refund of a part", func(y *year) string {
			_, _, payment := y.buys("basic", "")
			order, err := y.refund(y.root, payment.Reference, 700_000, "goodwill")
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.FinishRefund(order.GatewayID, "processed"))
			require.NoError(y.t, y.sim.Settle(y.t.Context()))
			return "refund.processed"
		}, handle, func(y *year) { require.Equal(y.t, 1, y.count(`payments WHERE refunded_kobo = 700000`)) }},
		{"refund that fails", func(y *year) string {
			_, _, payment := y.buys("basic", "")
			order, err := y.refund(y.root, payment.Reference, 0, "goodwill")
			require.NoError(y.t, err)
			require.NoError(y.t, y.sim.FinishRefund(order.GatewayID, "failed"))
			require.NoError(y.t, y.sim.Settle(y.t.Context()))
			return "refund.failed"
		}, handle, func(y *year) { require.Equal(y.t, 1, y.count(`refunds WHERE state = 'failed'`)) }},
		{"dispute that is opened", func(y *year) string {
			y.disputed()
			return "charge.dispute.create"
		}, handle, func(y *year) { require.Equal(y.t, 1, y.count(`disputes WHERE outcome = 'open'`)) }},
		{"dispute that is won", func(y *year) string {
			id := y.disputed()
			y.drain()
			require.NoError(y.t, y.sim.DecideDispute(id, false))
			require.NoError(y.t, y.sim.Settle(y.t.Context()))
			return "charge.dispute.resolve"
		}, handle, func(y *year) { require.Equal(y.t, 1, y.count(`disputes WHERE outcome = 'won'`)) }},
		{"dispute that is lost", func(y *year) string {
			id := y.disputed()
			y.drain()
			require.NoError(y.t, y.sim.DecideDispute(id, true))
			require.NoError(y.t, y.sim.Settle(y.t.Context()))
			return "charge.dispute.resolve"
		}, handle, func(y *year) { require.Equal(y.t, 1, y.count(`disputes WHERE outcome = 'lost'`)) }},
		{"wrong amount", func(y *year) string {
			y.dropWebhooks()
			y.fault(simulator.Fault{Kind: simulator.PartialDebit, Amount: 100_000, Times: 1})
			_, _, payment := y.purchase()
			require.NoError(y.t, y.sim.Pay(payment.Reference, ""))
			return payment.Reference
		}, settle, func(y *year) { require.Equal(y.t, 1, y.count(`payments WHERE received_kobo = 100000`)) }},
	}
}

// pay2 pays the coming period of a client twice.
func (y *year) pay2(p accounts.Principal, client tenants.Tenant) {
	y.t.Helper()
	first := y.link()
	second, err := y.Initialize(y.t.Context(), p, y.ip, billing.InitializeInput{PlanID: client.PlanID, ClientName: client.Name})
	require.NoError(y.t, err)
	for _, reference := range []string{first, second.Reference} {
		require.NoError(y.t, y.sim.Pay(reference, cash))
		y.work()
	}
	require.Equal(y.t, 1, y.count(`credits`))
}

// Whatever statement a process dies at, what is done again afterwards ends as it would have ended without.
func TestApply_CrashAnywhereElse(t *testing.T) {
	t.Parallel()
	for _, a := range accidents() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			play := func(do func(y *year, what string)) string {
				y := setupYear(t, 7, 0)
				what := a.prepare(y)
				before := y.money()
				do(y, what)
				require.NotEqual(t, before, y.money(), "it is about something")
				y.sim.ClearFaults()
				y.work()
				y.balanced()
				if a.after != nil {
					a.after(y)
				}
				return y.money()
			}
			calm := play(func(y *year, what string) { require.NoError(t, a.do(y, y.Service, what)) })
			crashed := play(func(y *year, what string) {
				y.crashEach(func(s *billing.Service) error { return a.do(y, s, what) }, func() {})
			})
			require.Equal(t, calm, crashed)
		})
	}
}
