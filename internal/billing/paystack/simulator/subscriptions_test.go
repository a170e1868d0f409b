package simulator_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
)

func (b *bundle) plan(t *testing.T, change map[string]any) envelope {
	t.Helper()
	body := map[string]any{"name": "Basic", "amount": 500_000, "interval": "monthly"}
	for name, value := range change {
		body[name] = value
	}
	return b.call(t, http.MethodPost, "/plan", testKey, body)
}

func TestPlan_Lives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.plan(t, nil)
	require.Equal(t, "Plan created", e.Message)
	code, ok := e.field(t, "plan_code").(string)
	require.True(t, ok)
	require.Equal(t, "Invalid interval selected", b.plan(t, map[string]any{"interval": "Monthly"}).Message)
	require.Equal(t, http.StatusBadRequest, b.plan(t, map[string]any{"amount": 9_999}).HTTP)
	e = b.call(t, http.MethodPut, "/plan/"+code, testKey, map[string]any{"amount": 600_000})
	require.Equal(t, "Plan updated. 0 subscription(s) affected", e.Message)
	require.InDelta(t, 600_000, b.call(t, http.MethodGet, "/plan/"+code, testKey, nil).field(t, "amount"), 0)
	require.InDelta(t, 1, b.call(t, http.MethodGet, "/plan?interval=monthly", testKey, nil).Meta["total"], 0)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/plan/PLN_x", testKey, nil).HTTP)
	require.Equal(t, http.StatusBadRequest, b.call(t, http.MethodPost, "/transaction/initialize", testKey,
		map[string]any{"email": "a@example.com", "amount": 5000, "plan": "PLN_x"}).HTTP)
}

func TestSubscription_StartsWithAPaymentAndRenews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Advance(10 * 24 * time.Hour) // 1 December
	b.Advance(30 * 24 * time.Hour) // 31 December
	code := b.plan(t, map[string]any{"invoice_limit": 3}).field(t, "plan_code")
	b.open(t, "R1", map[string]any{"plan": code, "amount": 1})
	require.NoError(t, b.Pay("R1", ""))
	paid := b.verify(t, "R1")
	require.InDelta(t, 500_000, paid.field(t, "amount"), 0, "the plan's")
	require.Equal(t, code, paid.field(t, "plan"))
	sub := b.lastEvent(t, "subscription.create")
	require.Equal(t, "2027-01-28T09:00:00.000Z", sub["next_payment_date"])
	require.Equal(t, "0 0 28 * *", sub["cron_expression"])

	b.Advance(28 * 24 * time.Hour)
	require.Equal(t, []string{"charge.success", "subscription.create", "invoice.create", "charge.success", "invoice.update"}, b.events(t))
	renewal := b.lastEvent(t, "charge.success")
	require.Equal(t, map[string]any{"invoice_action": "create"}, renewal["metadata"])
	require.Equal(t, "2027-01-28T09:00:00.000Z", renewal["paid_at"])

	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.ChargeDecline, Times: 1}))
	b.Advance(31 * 24 * time.Hour)
	require.Nil(t, b.lastEvent(t, "invoice.payment_failed")["paid_at"])
	path := fmt.Sprintf("/subscription/%s", sub["subscription_code"])
	require.Equal(t, "attention", b.call(t, http.MethodGet, path, testKey, nil).field(t, "status"))
	b.Advance(28 * 24 * time.Hour) // what failed isn't tried again before
	require.Equal(t, "complete", b.lastEvent(t, "subscription.disable")["status"])
	require.Equal(t, "completed", b.call(t, http.MethodGet, path, testKey, nil).field(t, "status"))
	b.Advance(365 * 24 * time.Hour)
	require.Len(t, b.Transactions(), 4)
}

func TestSubscription_OverTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	plan := b.plan(t, nil).field(t, "plan_code")
	subscribe := func(change map[string]any) envelope {
		body := map[string]any{"customer": "ada@example.com", "plan": plan}
		for name, value := range change {
			body[name] = value
		}
		return b.call(t, http.MethodPost, "/subscription", testKey, body)
	}
	require.Equal(t, http.StatusNotFound, subscribe(nil).HTTP, "no such customer")
	b.open(t, "unpaid", nil)
	require.Equal(t, "The customer specified has no saved authorizations", subscribe(nil).Message)
	b.saved(t, "first")
	require.Equal(t, "Authorization specified is invalid or does not belong to customer", subscribe(map[string]any{"authorization": "AUTH_x"}).Message)
	e := subscribe(map[string]any{"start_date": "2026-12-01T00:00:00.000Z"})
	require.Equal(t, "Subscription successfully created", e.Message)
	require.Equal(t, "duplicate_subscription", subscribe(nil).Code)

	code, token := e.field(t, "subscription_code"), e.field(t, "email_token")
	both := map[string]any{"code": code, "token": token}
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodPost, "/subscription/disable", testKey, map[string]any{"code": code, "token": "x"}).HTTP)
	require.Equal(t, "non-renewing", b.call(t, http.MethodPost, "/subscription/disable", testKey, both).field(t, "status"))
	require.Equal(t, http.StatusOK, b.call(t, http.MethodPost, "/subscription/enable", testKey, both).HTTP)
	require.Contains(t, b.call(t, http.MethodGet, fmt.Sprintf("/subscription/%s/manage/link", code), testKey, nil).field(t, "link"), code)
	require.Equal(t, http.StatusOK, b.call(t, http.MethodPost, fmt.Sprintf("/subscription/%s/manage/email", code), testKey, nil).HTTP)
	require.Equal(t, http.StatusOK, b.call(t, http.MethodPost, "/subscription/disable", testKey, both).HTTP)
	b.Advance(30 * 24 * time.Hour)
	require.Equal(t, "cancelled", b.lastEvent(t, "subscription.disable")["status"])
	require.Equal(t, "Subscription has been cancelled, and cannot be reactivated", b.call(t, http.MethodPost, "/subscription/enable", testKey, both).Message)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodPost, "/subscription/disable", testKey, both).HTTP)

	require.Equal(t, http.StatusBadRequest, subscribe(map[string]any{"start_date": "tomorrow"}).HTTP)
	require.InDelta(t, 2, b.call(t, http.MethodGet, "/subscription", testKey, nil).Meta["total"], 0, "refused, and there all the same")
	require.Equal(t, "[]", string(b.call(t, http.MethodGet, "/subscription?plan=PLN_x", testKey, nil).Data))
}

func TestCustomer_Lives(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.pay(t, "R1")
	e := b.call(t, http.MethodPost, "/customer", testKey, map[string]any{"email": "ada@example.com", "first_name": "Ada"})
	require.Equal(t, "Customer created", e.Message)
	code, ok := e.field(t, "customer_code").(string)
	require.True(t, ok)
	e = b.call(t, http.MethodGet, "/customer/ada@example.com", testKey, nil)
	require.Equal(t, code, e.field(t, "customer_code"))
	require.Len(t, e.field(t, "authorizations"), 1)
	require.Len(t, e.field(t, "transactions"), 1)
	e = b.call(t, http.MethodPut, "/customer/"+code, testKey, map[string]any{"last_name": "Obi", "metadata": map[string]any{"x": 1}})
	require.Equal(t, "Obi", e.field(t, "last_name"))
	require.Equal(t, "Ada", e.field(t, "first_name"))
	require.Equal(t, http.StatusBadRequest, b.call(t, http.MethodPut, "/customer/"+code, testKey, map[string]any{"metadata": `{"x":1}`}).HTTP)
	require.Equal(t, "deny", b.call(t, http.MethodPost, "/customer/set_risk_action", testKey,
		map[string]any{"customer": code, "risk_action": "deny"}).field(t, "risk_action"))
	require.InDelta(t, 1, b.call(t, http.MethodGet, "/customer", testKey, nil).Meta["total"], 0)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/customer/CUS_x", testKey, nil).HTTP)
	require.Equal(t, http.StatusBadRequest, b.call(t, http.MethodPost, "/customer", testKey, map[string]any{"email": "nobody"}).HTTP)
}

func TestTotals_BalanceAndTimeline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.pay(t, "R1")
	require.NoError(t, b.Import(simulator.Imported{Domain: "test", Reference: "theirs", Email: "bob@example.com", Amount: 100_000, Currency: "NGN", PaidAt: start()}))
	require.Error(t, b.Import(simulator.Imported{Domain: "test", Reference: "theirs", Email: "bob@example.com"}))
	require.Equal(t, "success", b.verify(t, "theirs").field(t, "status"))
	require.InDelta(t, 1_600_000, b.call(t, http.MethodGet, "/transaction/totals", testKey, nil).field(t, "total_volume"), 0)
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "theirs", "amount": 40_000}).HTTP)
	require.JSONEq(t, `[{"currency":"NGN","balance":1536000}]`, string(b.call(t, http.MethodGet, "/balance", testKey, nil).Data))
	require.InDelta(t, 1, b.call(t, http.MethodGet, "/transaction/timeline/R1", testKey, nil).field(t, "attempts"), 0)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/transaction/timeline/R9", testKey, nil).HTTP)
}

func TestFault_OneInIsRepeatable(t *testing.T) {
	t.Parallel()
	var runs [2][]any
	for i := range runs {
		b := setup(t)
		code := b.saved(t, "first")
		require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.ChargeDecline, OneIn: 3}))
		for n := range 30 {
			runs[i] = append(runs[i], b.charge(t, code, fmt.Sprintf("R%d", n), nil).field(t, "status"))
		}
	}
	require.Equal(t, runs[0], runs[1])
	require.Contains(t, runs[0], "failed")
	require.Contains(t, runs[0], "success")
}

func TestState_KeepsTimersOverARestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "paystack.json")
	keep := func(o *simulator.Options) { o.StateFile = file }
	first := setup(t, keep)
	code := first.saved(t, "R1")
	require.Equal(t, http.StatusOK, first.refund(t, map[string]any{"transaction": "R1", "amount": 1_500_000}).HTTP)
	first.Close()

	second := setup(t, keep)
	require.Equal(t, "success", second.charge(t, code, "R2", nil).field(t, "status"))
	second.Advance(time.Hour)
	require.Equal(t, "reversed", second.verify(t, "R1").field(t, "status"))
}
