package simulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing/paystack/simulator"
)

// inOrder plays the same day with a receiver that is down for a while, and returns what it got, in the order in which it did.
func inOrder(t *testing.T) (got []string, struck map[simulator.FaultKind]int) {
	t.Helper()
	b := setup(t, func(o *simulator.Options) { o.InOrder = true })
	for _, kind := range []simulator.FaultKind{simulator.WebhookDelay, simulator.WebhookReorder, simulator.WebhookDuplicate, simulator.ChargeDecline} {
		require.NoError(t, b.AddFault(simulator.Fault{Kind: kind, OneIn: 3, Amount: 1, Delay: simulator.Duration(90 * time.Minute)}))
	}
	b.receiver.answer(http.StatusInternalServerError)
	for i := range 20 {
		b.open(t, fmt.Sprintf("R%d", i), nil)
		require.NoError(t, b.Pay(fmt.Sprintf("R%d", i), ""))
	}
	require.Empty(t, b.receiver.got(), "nothing is delivered behind the caller's back")
	require.NoError(t, b.Settle(t.Context()))
	b.receiver.answer(http.StatusOK)
	b.Advance(6 * time.Hour)
	for _, body := range b.receiver.got() {
		var event struct {
			Data struct {
				Reference string `json:"reference"`
			} `json:"data"`
		}
		require.NoError(t, json.Unmarshal(body, &event))
		got = append(got, event.Data.Reference)
	}
	return got, b.Struck()
}

func TestDeliveries_InOrderRepeatExactly(t *testing.T) {
	t.Parallel()
	first, struck := inOrder(t)
	again, _ := inOrder(t)
	require.Equal(t, first, again)
	require.Greater(t, len(first), 40, "each at least twice: it was refused first")
	require.Positive(t, struck[simulator.WebhookDelay])
	require.Positive(t, struck[simulator.WebhookReorder])
	require.Positive(t, struck[simulator.WebhookDuplicate])
	require.Zero(t, struck[simulator.ChargeDecline], "nobody charged a saved card")
}
