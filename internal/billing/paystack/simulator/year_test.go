package simulator_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
)

// send calls the API as one whose connection may break, and doesn't look at the answer.
func (b *bundle) send(t *testing.T, path, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.server.URL+path, bytes.NewReader([]byte(body)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+testKey)
	if resp, err := http.DefaultClient.Do(req); err == nil {
		require.NoError(t, resp.Body.Close())
	}
}

// year lets subscribers pay each month while everything goes wrong now and then, and returns what came of it.
func (b *bundle) year(t *testing.T, subscribers int) []simulator.TransactionState {
	t.Helper()
	codes := make([]string, subscribers)
	for i := range codes {
		email := fmt.Sprintf("user%d@example.com", i)
		b.open(t, fmt.Sprintf("first-%d", i), map[string]any{"email": email})
		require.NoError(t, b.Pay(fmt.Sprintf("first-%d", i), ""))
		a, ok := b.verify(t, fmt.Sprintf("first-%d", i)).field(t, "authorization").(map[string]any)
		require.True(t, ok)
		codes[i], ok = a["authorization_code"].(string)
		require.True(t, ok)
	}
	for i, kind := range []simulator.FaultKind{
		simulator.APIError500, simulator.APIError502, simulator.APIRateLimited, simulator.APIMalformed, simulator.APIHTML, simulator.APIDrop,
		simulator.ChargeDecline, simulator.ChargePaused, simulator.ChargePending, simulator.AuthorizationRotates, simulator.CustomerFees,
		simulator.RefundFails, simulator.RefundNeedsAttention, simulator.WebhookDrop, simulator.WebhookDuplicate, simulator.WebhookReorder,
		simulator.WebhookBadSignature, simulator.WebhookOtherKey, simulator.WebhookTamper, simulator.LooseTypes,
	} {
		require.NoError(t, b.AddFault(simulator.Fault{Kind: kind, OneIn: 10, Delay: simulator.Duration(time.Hour), Amount: 2, Before: i%2 == 0}))
	}
	for month := range 12 {
		for i, code := range codes {
			b.send(t, "/transaction/charge_authorization", fmt.Sprintf(
				`{"email":"user%d@example.com","amount":500000,"currency":"NGN","reference":"R-%d-%d","authorization_code":%q}`, i, i, month, code))
			if (i+month)%7 == 0 {
				b.send(t, "/refund", fmt.Sprintf(`{"transaction":"R-%d-%d","amount":200000}`, i, month))
			}
			if (i+month)%11 == 0 {
				_, _ = b.OpenDispute(fmt.Sprintf("R-%d-%d", i, month), "", 0) // of what wasn't paid there is none
			}
		}
		b.Advance(30*24*time.Hour + time.Hour)
	}
	require.NoError(t, b.Settle(t.Context()))
	return b.Transactions()
}

func TestYear_IsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	first, second := setup(t).year(t, 20), setup(t).year(t, 20)
	require.Equal(t, first, second)
	other := setup(t, func(o *simulator.Options) { o.Seed = 8 }).year(t, 20)
	require.NotEqual(t, first, other)

	count := map[string]int{}
	references := map[string]bool{}
	for _, tr := range first {
		count[tr.Status]++
		require.False(t, references[tr.Reference], "one transaction per reference")
		references[tr.Reference] = true
		require.LessOrEqual(t, tr.Refunded, tr.Amount)
		if tr.Status == "success" || tr.Status == "reversed" {
			require.NotNil(t, tr.PaidAt)
		}
	}
	for _, status := range []string{"success", "failed", "ongoing", "reversed"} {
		require.Positive(t, count[status], status)
	}
	require.Greater(t, count["success"], 150)
}
