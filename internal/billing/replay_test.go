package billing_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/secrets"
)

func TestReplay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	b.sim.Send("test", "transfer.success", map[string]any{"id": 5, "reference": "acv"})
	b.settled()
	for name, f := range map[string]billing.ReplayFilter{
		"by reference": {Reference: payment.Reference}, "by time": {Since: b.clock().Add(-time.Minute)}, "up to now": {Until: b.clock().Add(time.Minute)},
	} {
		n, err := b.Replay(t.Context(), f)
		require.NoError(t, err, name)
		require.Equal(t, 1, n, name)
		b.settled()
		require.Equal(t, 1, b.count(`payment_events WHERE outcome = 'already applied'`), name)
	}
	n, err := b.Replay(t.Context(), billing.ReplayFilter{EventID: 1_000_000})
	require.NoError(t, err)
	require.Zero(t, n)
	_, err = b.Replay(t.Context(), billing.ReplayFilter{})
	require.ErrorIs(t, err, billing.ErrReplayAll)
	b.activatedOnce(client.ID, payment.Reference)
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'payment.success'`))
}

func TestReplay_LeavesWaitingEventsAlone(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	_, _, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	require.NoError(t, b.sim.Settle(t.Context()))
	n, err := b.Replay(t.Context(), billing.ReplayFilter{Reference: payment.Reference})
	require.NoError(t, err)
	require.Zero(t, n)
	require.Equal(t, 1, b.count(`operations WHERE kind = 'payment_event.apply'`))
}

func TestForgetBodies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.advance(89 * 24 * time.Hour)
	n, err := b.ForgetBodies(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	b.advance(2 * 24 * time.Hour)
	n, err = b.ForgetBodies(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Equal(t, 1, b.count(`payment_events WHERE body = '' AND outcome = 'activated'`))

	require.NoError(t, b.sim.Resend(b.sim.Deliveries()[0].ID))
	b.settled()
	require.Equal(t, 1, b.count(`payment_events`), "it is known still")
	n, err = b.Replay(t.Context(), billing.ReplayFilter{Reference: payment.Reference})
	require.NoError(t, err)
	require.Equal(t, 1, n, "its reference is enough")
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
}

// During a rotation events are signed with the old key or the new one; afterwards only with the new one.
func TestWebhook_KeyRotation(t *testing.T) {
	t.Parallel()
	b := setupIdle(t)
	const newKey = "sk_test_rotated_key"
	body := func(id string) []byte {
		return []byte(`{"event":"charge.success","data":{"id":` + id + `,"reference":"ODOO-0123456789AB"}}`)
	}
	for _, tc := range []struct {
		accepted []secrets.Secret
		signed   secrets.Secret
		ok       bool
	}{
		{[]secrets.Secret{newKey, gatewayKey}, gatewayKey, true},
		{[]secrets.Secret{newKey, gatewayKey}, newKey, true},
		{[]secrets.Secret{gatewayKey, newKey}, newKey, true},
		{[]secrets.Secret{newKey}, gatewayKey, false},
		{[]secrets.Secret{gatewayKey}, newKey, false},
		{[]secrets.Secret{newKey, gatewayKey}, "sk_test_somebody_else", false},
	} {
		client, err := paystack.New(paystack.Options{SecretKeys: tc.accepted})
		require.NoError(t, err)
		b.deps.Gateway = client
		service := billing.New(b.deps, billing.Options{})
		sim, err := simulator.New(simulator.Options{SecretKeys: []secrets.Secret{tc.signed}})
		require.NoError(t, err)
		t.Cleanup(sim.Close)
		err = service.ReceiveWebhook(t.Context(), body("1"), sim.Sign("test", body("1")))
		if tc.ok {
			require.NoError(t, err)
		} else {
			require.ErrorIs(t, err, billing.ErrBadSignature)
		}
	}
	require.Equal(t, 1, b.count(`payment_events`))
}

// Every event of the gateway's list is stored, acknowledged, and harmless.
func TestWebhook_EveryEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	names := strings.Fields(`charge.success charge.dispute.create charge.dispute.remind charge.dispute.resolve subscription.create
		subscription.disable subscription.not_renew subscription.expiring_cards invoice.create invoice.update invoice.payment_failed
		refund.pending refund.processing refund.processed refund.failed refund.needs-attention transfer.success transfer.failed
		transfer.reversed paymentrequest.pending paymentrequest.success paymentrequest.draft customeridentification.success
		customeridentification.failed dedicatedaccount.assign.success dedicatedaccount.assign.failed bank.transfer.rejected
		direct_debit.authorization.created direct_debit.authorization.active product.update`)
	for _, name := range names {
		data := map[string]any{
			"id": 7, "status": "success", "reference": payment.Reference, "transaction_reference": payment.Reference,
			"transaction": map[string]any{"id": 1, "reference": payment.Reference, "status": "reversed"}, "amount": "1", "domain": "test",
		}
		var shaped any = data
		if name == "subscription.expiring_cards" {
			shaped = []any{data}
		}
		b.sim.Send("test", name, shaped)
		b.sim.Send("test", name, shaped)
	}
	b.settled()
	require.Equal(t, len(names), b.count(`payment_events WHERE applied_at IS NOT NULL`), "repeats are known")
	b.untouched(client.ID)
	require.Zero(t, b.count(`refunds`)+b.count(`disputes`), "what an event says doesn't count")
	for _, d := range b.sim.Deliveries() {
		require.True(t, d.Delivered)
	}
	require.Equal(t, http.StatusOK, b.deliver([]byte(`{"event":"x.y"}`), b.sim.Sign("test", []byte(`{"event":"x.y"}`))))
}
