package simulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
)

// saved pays once with a reusable card and returns its authorization code.
func (b *bundle) saved(t *testing.T, reference string) string {
	t.Helper()
	b.pay(t, reference)
	a, ok := b.verify(t, reference).field(t, "authorization").(map[string]any)
	require.True(t, ok)
	require.Equal(t, true, a["reusable"])
	code, ok := a["authorization_code"].(string)
	require.True(t, ok)
	return code
}

func (b *bundle) charge(t *testing.T, code, reference string, change map[string]any) envelope {
	t.Helper()
	body := map[string]any{
		"email": "ada@example.com", "amount": 500_000, "currency": "NGN", "reference": reference, "authorization_code": code,
		"metadata": `{"user_id":42}`,
	}
	for name, value := range change {
		body[name] = value
	}
	return b.call(t, http.MethodPost, "/transaction/charge_authorization", testKey, body)
}

// events returns the names of what was delivered, oldest first.
func (b *bundle) events(t *testing.T) []string {
	t.Helper()
	require.NoError(t, b.Settle(t.Context()))
	var names []string
	for _, d := range b.Deliveries() {
		names = append(names, d.Event)
	}
	return names
}

func (b *bundle) lastEvent(t *testing.T, name string) map[string]any {
	t.Helper()
	require.NoError(t, b.Settle(t.Context()))
	var data map[string]any
	for _, d := range b.Deliveries() {
		if d.Event == name {
			var event struct {
				Data map[string]any `json:"data"`
			}
			require.NoError(t, json.Unmarshal(d.Body, &event))
			data = event.Data
		}
	}
	require.NotNil(t, data, name)
	return data
}

func TestCharge_TakesFromASavedCard(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code := b.saved(t, "first")
	e := b.charge(t, code, "second", nil)
	require.Equal(t, http.StatusOK, e.HTTP)
	require.Equal(t, "Charge attempted", e.Message)
	require.Equal(t, "success", e.field(t, "status"))
	require.Equal(t, "Approved", e.field(t, "gateway_response"))
	require.Equal(t, map[string]any{"user_id": float64(42)}, e.field(t, "metadata"))
	require.Equal(t, []string{"charge.success", "charge.success"}, b.events(t))

	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.AuthorizationRotates, Times: 1}))
	a, ok := b.charge(t, code, "third", nil).field(t, "authorization").(map[string]any)
	require.True(t, ok)
	require.NotEqual(t, code, a["authorization_code"])
	require.Equal(t, "success", b.charge(t, code, "fourth", nil).field(t, "status"), "the old code is good still")
}

func TestCharge_RefusesAndCreatesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code := b.saved(t, "first")
	b.open(t, "once", nil)
	require.NoError(t, b.Pay("once", "507850785078507812"))
	a, ok := b.verify(t, "once").field(t, "authorization").(map[string]any)
	require.True(t, ok)
	const mismatch = "Email does not match Authorization code. Authorization may be inactive or belong to a different email. Please confirm."
	for name, tc := range map[string]struct {
		message string
		change  map[string]any
	}{
		"unknown code":     {"Authorization code is invalid", map[string]any{"authorization_code": "AUTH_x"}},
		"no code":          {"Authorization code is required", map[string]any{"authorization_code": ""}},
		"another customer": {mismatch, map[string]any{"email": "bob@example.com"}},
		"not reusable":     {mismatch, map[string]any{"authorization_code": a["authorization_code"]}},
		"taken reference":  {"Duplicate Transaction Reference", map[string]any{"reference": "first"}},
		"amount":           {"You must specify a valid amount", map[string]any{"amount": 1}},
	} {
		e := b.charge(t, code, "free", tc.change)
		require.Equal(t, http.StatusBadRequest, e.HTTP, name)
		require.Equal(t, tc.message, e.Message, name)
	}
	require.Equal(t, "transaction_not_found", b.verify(t, "free").Code)

	e := b.call(t, http.MethodPost, "/customer/authorization/deactivate", testKey, map[string]any{"authorization_code": code})
	require.Equal(t, "Authorization has been deactivated", e.Message)
	require.Equal(t, mismatch, b.charge(t, code, "free", nil).Message)
	e = b.call(t, http.MethodPost, "/customer/authorization/deactivate", testKey, map[string]any{"authorization_code": "AUTH_x"})
	require.Equal(t, http.StatusNotFound, e.HTTP)
}

func TestCharge_DeclinesOfOneCustomer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code := b.saved(t, "first")
	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.ChargeDecline, Email: "bob@example.com"}))
	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.ChargeDecline, Email: "ada@example.com", Times: 1, Reason: "Do Not Honor"}))
	e := b.charge(t, code, "second", nil)
	require.Equal(t, http.StatusOK, e.HTTP)
	require.Equal(t, "failed", e.field(t, "status"))
	require.Equal(t, "Do Not Honor", e.field(t, "gateway_response"))
	require.Equal(t, "Duplicate Transaction Reference", b.charge(t, code, "second", nil).Message)
	require.Equal(t, "success", b.charge(t, code, "third", nil).field(t, "status"))
	require.Equal(t, []string{"charge.success", "charge.success"}, b.events(t), "there is no charge.failed")
}

func TestCharge_IsHeldUpByTheBank(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{"approve": "success", "refuse": "failed"} {
		b := setup(t)
		code := b.saved(t, "first")
		require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.ChargePaused, Times: 1}))
		e := b.charge(t, code, "second", nil)
		require.Equal(t, true, e.field(t, "paused"))
		require.Nil(t, e.field(t, "status"))
		address, ok := e.field(t, "authorization_url").(string)
		require.True(t, ok)
		require.Equal(t, "ongoing", b.verify(t, "second").field(t, "status"))
		require.Contains(t, page(t, address), "Approve the payment")
		submit(t, address, url.Values{"action": {"answer"}, "value": {answer}})
		require.Equal(t, want, b.verify(t, "second").field(t, "status"))
	}
}

func TestCharge_IsDecidedLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code := b.saved(t, "first")
	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.ChargePending, Times: 1, Delay: simulator.Duration(time.Hour)}))
	require.Equal(t, "pending", b.charge(t, code, "second", nil).field(t, "status"))
	b.Advance(59 * time.Minute)
	require.Equal(t, "pending", b.verify(t, "second").field(t, "status"))
	b.Advance(time.Hour)
	e := b.verify(t, "second")
	require.Equal(t, "success", e.field(t, "status"))
	require.Equal(t, "2026-11-21T10:00:00.000Z", e.field(t, "paid_at"), "at its own time, not at the end of the leap")
}

func TestCharge_EventOvertakesTheAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code := b.saved(t, "first")
	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.WebhookBeforeAnswer, Route: "charge"}))
	require.Equal(t, http.StatusOK, b.charge(t, code, "second", nil).HTTP)
	require.Len(t, b.receiver.got(), 2, "without waiting for it")
}

func (b *bundle) refund(t *testing.T, body map[string]any) envelope {
	t.Helper()
	return b.call(t, http.MethodPost, "/refund", testKey, body)
}

func TestRefund_GoesThroughItsSteps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.pay(t, "R1")
	e := b.refund(t, map[string]any{"transaction": "R1", "amount": 500_000, "merchant_note": "refund-7"})
	require.Equal(t, http.StatusOK, e.HTTP, e.Message)
	require.Equal(t, "pending", e.field(t, "status"))
	inner, ok := e.field(t, "transaction").(map[string]any)
	require.True(t, ok, "an object here")
	require.Equal(t, "R1", inner["reference"])
	require.Equal(t, "reversal-pending", b.verify(t, "R1").field(t, "status"), "of a part too")

	id, transaction := e.field(t, "id"), inner["id"]
	path := fmt.Sprintf("/refund/%.0f", id)
	b.Advance(time.Minute)
	e = b.call(t, http.MethodGet, path, testKey, nil)
	require.Equal(t, "processing", e.field(t, "status"))
	require.Equal(t, transaction, e.field(t, "transaction"), "a number here")
	b.Advance(time.Minute)
	require.Equal(t, "processed", b.call(t, http.MethodGet, path, testKey, nil).field(t, "status"))
	require.Equal(t, "success", b.verify(t, "R1").field(t, "status"))
	require.Equal(t, []string{"charge.success", "refund.pending", "refund.processing", "refund.processed"}, b.events(t))
	require.Nil(t, b.lastEvent(t, "refund.pending")["refund_reference"])
	require.Equal(t, "500000", b.lastEvent(t, "refund.pending")["amount"], "as text")
	require.NotNil(t, b.lastEvent(t, "refund.processed")["refund_reference"])

	list := func(filter string) string {
		return string(b.call(t, http.MethodGet, "/refund?transaction="+filter, testKey, nil).Data)
	}
	require.Contains(t, list(fmt.Sprintf("%.0f", transaction)), "refund-7")
	require.Equal(t, "[]", list("R1"), "a reference finds nothing")

	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "R1", "amount": 1_000_000}).HTTP)
	b.Advance(time.Hour)
	require.Equal(t, "reversed", b.verify(t, "R1").field(t, "status"))
	require.Equal(t, int64(1_500_000), b.Transactions()[0].Refunded)
}

func TestRefund_RefusesAsPaystackDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.pay(t, "R1")
	b.open(t, "unpaid", nil)
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "R1", "amount": 400_000}).HTTP)
	for name, tc := range map[string]struct {
		message string
		body    map[string]any
	}{
		"unknown":             {"Transaction not found", map[string]any{"transaction": "nothing"}},
		"unpaid":              {"Transaction not found", map[string]any{"transaction": "unpaid"}},
		"too much":            {"Refund amount exceeds transaction amount", map[string]any{"transaction": "R1", "amount": 1_500_001}},
		"sum too much":        {"Total refund amount cannot exceed original transaction amount", map[string]any{"transaction": "R1", "amount": 1_100_001}},
		"the rest isn't said": {"Total refund amount cannot exceed original transaction amount", map[string]any{"transaction": "R1"}},
		"currency":            {"Transaction currency must match refund currency", map[string]any{"transaction": "R1", "amount": 1, "currency": "USD"}},
		"negative":            {"Invalid Amount Sent", map[string]any{"transaction": "R1", "amount": -1}},
	} {
		e := b.refund(t, tc.body)
		require.Equal(t, http.StatusBadRequest, e.HTTP, name)
		require.Equal(t, tc.message, e.Message, name)
	}
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "R1", "amount": 1_100_000}).HTTP)
	require.Equal(t, "transaction_reversed", b.refund(t, map[string]any{"transaction": "R1", "amount": 1}).Code)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/refund/1", testKey, nil).HTTP)
}

func TestRefund_FailsAndNeedsAttention(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open(t, "fails", nil)
	require.NoError(t, b.Pay("fails", "4084080000671803"))
	b.open(t, "attention", nil)
	require.NoError(t, b.Pay("attention", "4084080000671902"))
	b.pay(t, "stuck")
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "fails", "amount": 1_500_000}).HTTP)
	attention := b.refund(t, map[string]any{"transaction": "attention", "amount": 1_500_000})
	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.RefundStuck, Times: 1}))
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "stuck", "amount": 1_500_000}).HTTP)
	b.Advance(24 * time.Hour)
	require.Equal(t, "success", b.verify(t, "fails").field(t, "status"), "the money is back")
	require.InDelta(t, 1_500_000, b.lastEvent(t, "refund.failed")["amount"], 0, "a number here")
	require.Equal(t, "reversal-pending", b.verify(t, "attention").field(t, "status"))
	require.IsType(t, "", b.lastEvent(t, "refund.needs-attention")["id"])
	require.Equal(t, "reversal-pending", b.verify(t, "stuck").field(t, "status"))
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "fails", "amount": 1_500_000}).HTTP, "it may be tried again")

	path := fmt.Sprintf("/refund/retry_with_customer_details/%.0f", attention.field(t, "id"))
	details := map[string]any{"refund_account_details": map[string]any{"currency": "NGN", "account_number": "1234567890", "bank_id": "9"}}
	require.Equal(t, http.StatusBadRequest, b.call(t, http.MethodPost, path, testKey, map[string]any{}).HTTP)
	require.Equal(t, http.StatusOK, b.call(t, http.MethodPost, path, testKey, details).HTTP)
	require.Equal(t, http.StatusUnprocessableEntity, b.call(t, http.MethodPost, path, testKey, details).HTTP)
	b.Advance(time.Hour)
	require.Equal(t, "reversed", b.verify(t, "attention").field(t, "status"))

	require.NoError(t, b.FinishRefund(b.Refunds()[2].ID, "processed"))
	require.Equal(t, "reversed", b.verify(t, "stuck").field(t, "status"))
	require.Error(t, b.FinishRefund(b.Refunds()[2].ID, "failed"))
	require.Error(t, b.FinishRefund(1, "failed"))
}

func TestDispute_SilenceLosesIt(t *testing.T) {
	t.Parallel()
	b := setup(t) // a Saturday
	b.pay(t, "R1")
	id, err := b.OpenDispute("R1", "fraud", 0)
	require.NoError(t, err)
	path := fmt.Sprintf("/dispute/%d", id)
	e := b.call(t, http.MethodGet, path, testKey, nil)
	require.Equal(t, "awaiting-merchant-feedback", e.field(t, "status"))
	require.Equal(t, "2026-11-23T16:00:00.000Z", e.field(t, "dueAt"), "16 hours of business days")
	require.Nil(t, e.field(t, "transaction_reference"))
	require.Equal(t, "success", b.verify(t, "R1").field(t, "status"))
	_, err = b.OpenDispute("R1", "", 0)
	require.Error(t, err, "one at a time")

	b.Advance(9 * time.Hour)
	require.Equal(t, []string{"charge.success", "charge.dispute.create", "charge.dispute.remind", "charge.dispute.remind"}, b.events(t))
	b.Advance(72 * time.Hour)
	require.Equal(t, "auto-accepted", b.call(t, http.MethodGet, path, testKey, nil).field(t, "resolution"))
	require.Equal(t, "reversed", b.verify(t, "R1").field(t, "status"))
	require.Equal(t, "2026-11-23T16:00:00.000Z", b.lastEvent(t, "charge.dispute.resolve")["resolvedAt"])
	require.Equal(t, "transaction_reversed", b.refund(t, map[string]any{"transaction": "R1", "amount": 1}).Code)
}

func TestDispute_IsAnswered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ids := make([]int64, 3)
	for i := range ids {
		b.pay(t, fmt.Sprintf("R%d", i))
		id, err := b.OpenDispute(fmt.Sprintf("R%d", i), "", 700_000)
		require.NoError(t, err)
		ids[i] = id
	}
	resolve := func(id int64, body map[string]any) envelope {
		return b.call(t, http.MethodPut, fmt.Sprintf("/dispute/%d/resolve", id), testKey, body)
	}
	accept := map[string]any{"resolution": "merchant-accepted", "message": "ours", "refund_amount": 700_000, "uploaded_filename": "f.pdf"}
	decline := map[string]any{"resolution": "declined", "message": "delivered", "refund_amount": 0, "uploaded_filename": "f.pdf"}
	require.Equal(t, http.StatusBadRequest, resolve(ids[0], map[string]any{"resolution": "maybe", "message": "x", "refund_amount": 1}).HTTP)
	require.Equal(t, http.StatusBadRequest, resolve(ids[0], map[string]any{"resolution": "declined", "message": "x", "refund_amount": 1_500_001}).HTTP)
	require.Equal(t, "resolved", resolve(ids[0], accept).field(t, "status"))
	require.Equal(t, http.StatusBadRequest, resolve(ids[0], accept).HTTP)
	require.Equal(t, "reversed", b.verify(t, "R0").field(t, "status"))

	evidence := map[string]any{"customer_email": "a@example.com", "customer_name": "Ada", "customer_phone": "0800", "service_details": "hosting"}
	require.Equal(t, "Evidence created", b.call(t, http.MethodPost, fmt.Sprintf("/dispute/%d/evidence", ids[1]), testKey, evidence).Message)
	require.Equal(t, http.StatusBadRequest, b.call(t, http.MethodPost, fmt.Sprintf("/dispute/%d/evidence", ids[1]), testKey, map[string]any{}).HTTP)
	upload := b.call(t, http.MethodGet, fmt.Sprintf("/dispute/%d/upload_url?upload_filename=f.pdf", ids[1]), testKey, nil)
	require.Contains(t, upload.field(t, "fileName"), "f.pdf")
	updated := b.call(t, http.MethodPut, fmt.Sprintf("/dispute/%d", ids[1]), testKey, map[string]any{"refund_amount": 600_000})
	require.Equal(t, byte('['), updated.Data[0], "a list, as in the sample")
	for _, id := range ids[1:] {
		require.Equal(t, "awaiting-bank-feedback", resolve(id, decline).field(t, "status"))
	}
	b.Advance(240 * time.Hour)
	require.Equal(t, "success", b.verify(t, "R1").field(t, "status"), "the merchant has answered in time")
	require.NoError(t, b.DecideDispute(ids[1], false))
	require.NoError(t, b.DecideDispute(ids[2], true))
	require.Error(t, b.DecideDispute(ids[2], true))
	require.Equal(t, "success", b.verify(t, "R1").field(t, "status"))
	require.Equal(t, "reversed", b.verify(t, "R2").field(t, "status"))

	first := b.call(t, http.MethodGet, "/dispute?use_cursor=true&perPage=2&status=resolved", testKey, nil)
	next, ok := first.Meta["next"].(string)
	require.True(t, ok)
	second := b.call(t, http.MethodGet, "/dispute?use_cursor=true&perPage=2&status=resolved&next="+next, testKey, nil)
	require.Nil(t, second.Meta["next"])
	require.Contains(t, string(second.Data), `"R0"`)
	require.InDelta(t, 3, b.call(t, http.MethodGet, "/dispute", testKey, nil).Meta["total"], 0)
	found := b.call(t, http.MethodGet, fmt.Sprintf("/dispute/transaction/%d", b.Transactions()[1].ID), testKey, nil)
	require.InDelta(t, ids[1], found.field(t, "id"), 0)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/dispute/1", testKey, nil).HTTP)
	require.Equal(t, http.StatusNotFound, b.call(t, http.MethodGet, "/dispute/1/else", testKey, nil).HTTP)
}
