package simulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
)

func (b *bundle) pay(t *testing.T, reference string) {
	t.Helper()
	b.open(t, reference, nil)
	require.NoError(t, b.Pay(reference, ""))
	require.NoError(t, b.Settle(t.Context()))
}

func TestWebhook_IsSignedOverItsBytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.open(t, "R1", map[string]any{"metadata": `{"note":"a<b & ü/x"}`})
	require.NoError(t, b.Pay("R1", ""))
	require.NoError(t, b.Settle(t.Context()))
	require.Len(t, b.receiver.got(), 1)
	body, header := b.receiver.bodies[0], b.receiver.header[0]
	require.Equal(t, b.Sign("test", body), header.Get("X-Paystack-Signature"))
	require.Equal(t, "Paystack/2.0", header.Get("User-Agent"))
	require.Contains(t, string(body), "a<b & ü/x", "as JSON.stringify writes it")
	require.False(t, bytes.HasSuffix(body, []byte("\n")))
}

// The vector is in the fact sheet.
func TestSign_Vector(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := []byte(`{"event":"charge.success","data":{"id":302961,"reference":"inv-2026-000123","amount":500000,"currency":"NGN"}}`)
	require.Len(t, body, 110)
	require.Equal(t, "e42878b6153051a90346e0c197a5c0f19924081a76182cbf58466e325646e852a397bb7ba047dea6bf6d710c737bc265f007f2047d9d4f6b5a9d8d64a48e6ce0",
		b.Sign("test", body))
}

func TestWebhook_RetrySchedule(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		domain   string
		attempts int
		within   time.Duration
	}{
		{"test", 11, 24 * time.Hour},
		{"live", 76, 100 * time.Hour},
	} {
		t.Run(tc.domain, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.receiver.answer(http.StatusAccepted) // only 200 counts
			b.Send(tc.domain, "charge.success", map[string]any{"id": 1})
			for range int(tc.within / (3 * time.Minute)) {
				require.NoError(t, b.Settle(t.Context()))
				b.Advance(3 * time.Minute)
			}
			require.NoError(t, b.Settle(t.Context()))
			require.Len(t, b.receiver.got(), tc.attempts)
			last := b.Deliveries()[0]
			require.False(t, last.Delivered)
			require.Nil(t, last.NextAt)
		})
	}
}

func TestWebhook_StopsAfter200(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.receiver.answer(http.StatusInternalServerError)
	b.pay(t, "R1")
	b.receiver.answer(http.StatusOK)
	b.Advance(time.Hour)
	require.NoError(t, b.Settle(t.Context()))
	b.Advance(5 * time.Hour)
	require.NoError(t, b.Settle(t.Context()))
	require.Len(t, b.receiver.got(), 2)
	require.True(t, b.Deliveries()[0].Delivered)
	require.NoError(t, b.Resend(b.Deliveries()[0].ID))
	require.NoError(t, b.Settle(t.Context()))
	require.Len(t, b.receiver.got(), 3)
}

func TestWebhook_Faults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		fault simulator.Fault
		check func(t *testing.T, b *bundle)
	}{
		{simulator.Fault{Kind: simulator.WebhookDrop}, func(t *testing.T, b *bundle) { t.Helper(); require.Empty(t, b.receiver.got()) }},
		{simulator.Fault{Kind: simulator.WebhookDuplicate, Amount: 3}, func(t *testing.T, b *bundle) { t.Helper(); require.Len(t, b.receiver.got(), 4) }},
		{simulator.Fault{Kind: simulator.WebhookDelay, Delay: simulator.Duration(time.Minute)}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.Empty(t, b.receiver.got())
			b.Advance(time.Minute)
			require.NoError(t, b.Settle(t.Context()))
			require.Len(t, b.receiver.got(), 1)
		}},
		{simulator.Fault{Kind: simulator.WebhookBadSignature}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.NotEqual(t, b.Sign("test", b.receiver.bodies[0]), b.receiver.header[0].Get("X-Paystack-Signature"))
		}},
		{simulator.Fault{Kind: simulator.WebhookOtherKey}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.NotEqual(t, b.Sign("test", b.receiver.bodies[0]), b.receiver.header[0].Get("X-Paystack-Signature"))
		}},
		{simulator.Fault{Kind: simulator.WebhookTamper, Amount: 1}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.Contains(t, string(b.receiver.bodies[0]), `"amount":1,`)
			require.Equal(t, b.Sign("test", b.receiver.bodies[0]), b.receiver.header[0].Get("X-Paystack-Signature"))
		}},
		{simulator.Fault{Kind: simulator.WebhookReorder, Times: 1}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.Empty(t, b.receiver.got())
			b.pay(t, "R2")
			require.NoError(t, b.Settle(t.Context()))
			require.Len(t, b.receiver.got(), 2)
			require.Contains(t, string(b.receiver.bodies[0]), "R2")
		}},
		{simulator.Fault{Kind: simulator.CustomerFees}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.InDelta(t, 1_522_500, b.verify(t, "R1").field(t, "amount"), 0)
			require.InDelta(t, 1_500_000, b.verify(t, "R1").field(t, "requested_amount"), 0)
		}},
		{simulator.Fault{Kind: simulator.PartialDebit, Amount: 700}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.InDelta(t, 700, b.verify(t, "R1").field(t, "amount"), 0)
		}},
		{simulator.Fault{Kind: simulator.LooseTypes}, func(t *testing.T, b *bundle) {
			t.Helper()
			require.Equal(t, "1500000", b.verify(t, "R1").field(t, "amount"))
		}},
	} {
		t.Run(string(tc.fault.Kind), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			require.NoError(t, b.AddFault(tc.fault))
			b.pay(t, "R1")
			tc.check(t, b)
		})
	}
}

func TestWebhook_BeforeInitializeAnswers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.AddFault(simulator.Fault{Kind: simulator.PayOnInitialize, Times: 1}))
	b.open(t, "R1", nil)
	require.Len(t, b.receiver.got(), 1, "delivered before initialize has answered")
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := httptest.NewServer(b.AdminHandler())
	t.Cleanup(admin.Close)
	post := func(path, contentType, body string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, admin.URL+path, bytes.NewReader([]byte(body)))
		require.NoError(t, err)
		req.Header.Set("Content-Type", contentType)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	b.open(t, "R1", nil)
	const asJSON = "application/json"
	require.Equal(t, http.StatusUnsupportedMediaType, post("/transactions/R1/pay", "text/plain", "{}"))
	require.Equal(t, http.StatusOK, post("/faults", asJSON, `{"kind":"webhook_delay","delay":"1h","times":1}`))
	require.Equal(t, http.StatusConflict, post("/faults", asJSON, `{"kind":"nonsense"}`))
	require.Equal(t, http.StatusOK, post("/transactions/R1/pay", asJSON, `{}`))
	require.Equal(t, http.StatusConflict, post("/transactions/R1/pay", asJSON, `{}`), "paid already")
	require.Equal(t, http.StatusOK, post("/clock", asJSON, `{"advance":"1h"}`))
	require.NoError(t, b.Settle(t.Context()))
	require.Len(t, b.receiver.got(), 1)
	require.Equal(t, http.StatusOK, post("/events", asJSON, `{"event":"transfer.success","data":{"id":5}}`))
	require.NoError(t, b.Settle(t.Context()))
	require.Len(t, b.receiver.got(), 2)
	require.Equal(t, http.StatusOK, post("/transactions/R1/status", asJSON, `{"status":"reversed"}`))
	require.Equal(t, "reversed", b.verify(t, "R1").field(t, "status"))
	require.Equal(t, http.StatusBadRequest, post("/clock", asJSON, `nonsense`))

	require.Equal(t, http.StatusOK, post("/transactions", asJSON, `{"transactions":[{"domain":"test","reference":"R2","email":"a@example.com",
		"amount":5000,"currency":"NGN","paid_at":"2026-11-21T09:00:00Z"}]}`))
	require.Equal(t, http.StatusOK, post("/transactions/R2/dispute", asJSON, `{"category":"fraud"}`))
	require.Equal(t, http.StatusConflict, post("/transactions/R9/dispute", asJSON, `{}`))
	require.Equal(t, http.StatusOK, post(fmt.Sprintf("/disputes/%d/decide", b.Disputes()[0].ID), asJSON, `{"lost":false}`))
	require.Equal(t, http.StatusOK, b.refund(t, map[string]any{"transaction": "R2", "amount": 5000}).HTTP)
	require.Equal(t, http.StatusOK, post(fmt.Sprintf("/refunds/%d/finish", b.Refunds()[0].ID), asJSON, `{"status":"processed"}`))
	require.Equal(t, http.StatusConflict, post("/refunds/x/finish", asJSON, `{"status":"processed"}`))

	for _, path := range []string{"/transactions", "/deliveries", "/faults", "/journal", "/clock", "/refunds", "/disputes", "/subscriptions"} {
		require.True(t, json.Valid([]byte(page(t, admin.URL+path))), path)
	}
}
