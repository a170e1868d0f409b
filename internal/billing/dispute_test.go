package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

func TestDispute_OpenedAndWon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	root, client, payment := b.paid()
	held := b.balance(ledger.Gateway)
	id, err := b.sim.OpenDispute(payment.Reference, "fraud", 0)
	require.NoError(t, err)
	b.settled()
	list, total, err := b.DisputeList(t.Context(), root, 0, 10)
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.Equal(t, id, list[0].GatewayID)
	require.Equal(t, "fraud", list[0].Category)
	require.NotNil(t, list[0].DueAt, "the deadline is shown")
	require.Equal(t, billing.OutcomeOpen, list[0].Outcome)
	require.Equal(t, 1, b.count(`alerts WHERE kind = 'dispute.open' AND message LIKE '%it is lost.' AND resolved_at IS NULL`))
	require.Equal(t, payment.AmountKobo, b.balance(ledger.Disputes))
	require.Equal(t, tenants.Provisioning, b.state(client.ID))
	_, err = b.refund(root, payment.Reference, 0, "please stop")
	require.ErrorIs(t, err, billing.ErrNothingToRefund, "the bank may take it: it isn't given back as well")

	require.NoError(t, b.sim.DecideDispute(id, false))
	b.settled()
	require.Equal(t, 1, b.count(`disputes WHERE outcome = 'won'`))
	require.Zero(t, b.alerts("dispute.open"))
	require.Zero(t, b.balance(ledger.Disputes))
	require.Equal(t, held, b.balance(ledger.Gateway))
	require.Equal(t, billing.StatusSuccess, b.payment(payment.Reference).Status)
}

func TestDispute_LostBySilence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.paid()
	held := b.balance(ledger.Gateway)
	_, err := b.sim.OpenDispute(payment.Reference, "", 0)
	require.NoError(t, err)
	b.settled()
	b.pass(5 * 24 * time.Hour)
	require.Equal(t, 1, b.count(`disputes WHERE outcome = 'lost' AND resolution = 'auto-accepted'`))
	require.Equal(t, billing.StatusRefunded, b.payment(payment.Reference).Status)
	require.Empty(t, b.payment(payment.Reference).Review)
	require.Zero(t, b.alerts("dispute.open"))
	require.Zero(t, b.balance(ledger.Disputes))
	require.Equal(t, payment.AmountKobo, b.balance(ledger.WriteOffs))
	require.Equal(t, held-payment.AmountKobo, b.balance(ledger.Gateway))
	require.Equal(t, tenants.Provisioning, b.state(client.ID), "what happens to the client is decided elsewhere")
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'dispute.lost'`))
}

// The end of a dispute may be heard of before its beginning, and again afterwards.
func TestDispute_EventsSwappedAndRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, _, payment := b.paid()
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookReorder, Times: 1}))
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.WebhookDuplicate, Amount: 3}))
	id, err := b.sim.OpenDispute(payment.Reference, "", 600_000)
	require.NoError(t, err)
	require.NoError(t, b.sim.DecideDispute(id, true))
	b.settled()
	require.Equal(t, 1, b.count(`disputes`))
	require.Equal(t, 1, b.count(`disputes WHERE outcome = 'lost' AND amount_kobo = 600000`))
	require.Equal(t, int64(600_000), b.balance(ledger.WriteOffs))
	require.Zero(t, b.balance(ledger.Disputes))
	require.Equal(t, 1, b.count(`payments WHERE status = 'success' AND refunded_kobo = 600000`), "the rest is ours")
	require.Zero(t, b.alerts("dispute.open"))
}

func TestDispute_OnlyAdmins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.account("ada")
	_, _, err := b.DisputeList(t.Context(), p, 0, 10)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	_, _, err = b.RefundList(t.Context(), p, 0, 10)
	require.ErrorIs(t, err, billing.ErrAdminOnly)
	p.Admin = true
	_, _, err = b.DisputeList(t.Context(), p, -1, 10)
	require.ErrorIs(t, err, billing.ErrPageOutOfBounds)
	_, _, err = b.RefundList(t.Context(), p, 0, 1001)
	require.ErrorIs(t, err, billing.ErrPageOutOfBounds)
}
