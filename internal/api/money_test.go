package api_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
	"controlplane/internal/billing"
)

// paid is the reference of a client's payment that has been applied.
func (b *bundle) paid(name string) (reference string) {
	b.t.Helper()
	token := b.user(name + "-owner")
	b.client(token, name)
	reference = b.initialize(token, `{"plan":"basic"}`)
	b.gateway.pay(reference)
	require.Equal(b.t, http.StatusOK, b.get("/api/payments/verify/"+reference, token).Status)
	return reference
}

// Refund takes every refund on.
func (g *gateway) Refund(_ context.Context, r billing.RefundRequest) (billing.Refund, error) {
	return billing.Refund{
		ID: 7, TransactionID: r.TransactionID, Status: billing.GatewayRefundPending, AmountKobo: r.AmountKobo, Currency: r.Currency,
		MerchantNote: r.MerchantNote,
	}, nil
}

func TestKeepCredit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root := b.admin()
	token := b.user("ada")
	b.client(token, "acme")
	b.initialize(token, `{"plan":"basic"}`)
	_, err := b.pool.Exec(t.Context(), `
		INSERT INTO credits (account_id, payment_id, amount_kobo, currency, reason) SELECT account_id, id, amount_kobo, currency, 'x' FROM payments LIMIT 1`)
	require.NoError(t, err)
	var list []map[string]any
	b.get("/api/admin/credits", root).json(&list)
	require.Nil(t, list[0]["resolution"])
	path := fmt.Sprintf("/api/admin/credits/%.0f/keep", list[0]["id"])
	require.Equal(t, http.StatusUnprocessableEntity, b.post(path, root, `{"note":" "}`).Status)
	require.Equal(t, http.StatusOK, b.post(path, root, `{"note":"the customer wants it so"}`).Status)
	require.Equal(t, http.StatusConflict, b.post(path, root, `{"note":"again"}`).Status)
	b.get("/api/admin/credits", root).json(&list)
	require.Equal(t, "kept", list[0]["resolution"])
}

func TestRefund(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root := b.admin()
	reference := b.paid("acme")
	path := "/api/admin/payments/" + reference + "/refunds"
	a := b.post(path, root, `{"amount_kobo":100,"reason":"goodwill"}`)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, "pending", a.object()["state"])
	require.Equal(t, false, a.object()["end_subscription"])
	require.Equal(t, false, a.object()["to_credit"])
	a = b.post(path, root, `{"amount_kobo":100,"reason":"goodwill"}`)
	require.Equal(t, http.StatusConflict, a.Status)
	for body, status := range map[string]int{
		`{}`: 422, `{"reason":""}`: 422, `{"reason":"x","amount_kobo":-1}`: 422, `{"reason":"x","amount_kobo":999999999}`: 422, `{"reason":5}`: 422,
		`{"reason":"x","end_subscription":"yes"}`: 422,
	} {
		require.Equal(t, status, b.post(path, root, body).Status, body)
	}
	require.Equal(t, http.StatusNotFound, b.post("/api/admin/payments/ODOO-000000000000/refunds", root, `{"reason":"x"}`).Status)
	other := b.paid("other")
	a = b.post("/api/admin/payments/"+other+"/refunds", root, `{"amount_kobo":100,"reason":"leaves","end_subscription":true}`)
	require.Equal(t, true, a.object()["end_subscription"])
	a = b.get("/api/admin/refunds", root)
	require.Equal(t, "2", a.Header.Get("X-Total-Count"))
}

func TestReconciliation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root := b.admin()
	_, err := b.pool.Exec(t.Context(), `
		WITH run AS (INSERT INTO reconciliation_runs (mode, from_at, to_at, started_at) VALUES ('test', now(), now(), now()) RETURNING id)
		INSERT INTO reconciliation_differences (mode, kind, reference, ours, theirs, first_run, last_run, first_seen, last_seen)
		SELECT 'test', 'unknown_here', 'SHOP-1', '', 'success', id, id, now(), now() FROM run`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, b.get("/api/admin/reconciliation", root).Status)
	a := b.get("/api/admin/reconciliation/differences", root)
	require.Equal(t, "1", a.Header.Get("X-Total-Count"), "%s", a.Body)
	var list []map[string]any
	a.json(&list)
	require.Equal(t, "unknown_here", list[0]["kind"])
	path := fmt.Sprintf("/api/admin/reconciliation/differences/%.0f/explain", list[0]["id"])
	require.Equal(t, http.StatusUnprocessableEntity, b.post(path, root, `{}`).Status)
	require.Equal(t, http.StatusOK, b.post(path, root, `{"note":"the gateway has been told"}`).Status)
	require.Equal(t, http.StatusNotFound, b.post(path, root, `{"note":"again"}`).Status)
	require.Equal(t, "1", b.get("/api/admin/reconciliation/differences?resolved=true", root).Header.Get("X-Total-Count"))
}

// The webhook has a bound of its own, and no other limit counts for it.
func TestWebhook_SoManyPerSecond(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.MaxWebhooks = 5 })
	refused := 0
	for range 40 {
		a := b.webhook("", `{"event":"something.new","data":{}}`, true)
		if a.Status == http.StatusTooManyRequests {
			refused++
			require.Equal(t, "1", a.Header.Get("Retry-After"))
			continue
		}
		require.Equal(t, http.StatusOK, a.Status)
	}
	require.Positive(t, refused)
}

// A flood of what isn't signed, from one address and from many, keeps no signed event out: it counts against those who send it.
func TestWebhook_ForgeriesKeepNobodyOut(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.MaxWebhooks = 5 })
	refused := 0
	for round := range 30 {
		for i := range 10 {
			from := "192.0.2.1:1000"
			if i%2 == 0 {
				from = fmt.Sprintf("198.51.100.%d:1000", round*5+i/2)
			}
			a := b.webhook(from, fmt.Sprintf(`{"event":"charge.success","n":%d}`, i), false)
			if a.Status == http.StatusTooManyRequests {
				require.Equal(t, "192.0.2.1:1000", from, "the others send little")
				refused++
				continue
			}
			require.Equal(t, http.StatusUnauthorized, a.Status)
		}
		if round%6 == 5 { // five signed ones, fewer than the bound, however fast this goes
			require.Equal(t, http.StatusOK, b.webhook("203.0.113.9:443", fmt.Sprintf(`{"event":"charge.success","data":{"id":%d}}`, round+1), true).Status)
		}
	}
	require.Positive(t, refused)
	require.Positive(t, b.count("payment_events"))
}

// webhook delivers an event from an address ("": any).
func (b *bundle) webhook(from, body string, signed bool) answer {
	b.t.Helper()
	signature := sign([]byte(body + " "))
	if signed {
		signature = sign([]byte(body))
	}
	return b.do(request{
		method: http.MethodPost, path: "/api/payments/webhook", contentType: "application/json", body: body, from: from,
		header: http.Header{"X-Paystack-Signature": {signature}},
	})
}
