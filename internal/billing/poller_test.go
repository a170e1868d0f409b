package billing_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack/simulator"
	"controlplane/internal/tenants"
)

func TestPoll_FindsWhatNoWebhookTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	require.NoError(t, b.Poll(t.Context()))
	b.untouched(client.ID)
	b.advance(15 * time.Second)
	require.NoError(t, b.Poll(t.Context()))
	b.activatedOnce(client.ID, payment.Reference)
	require.Zero(t, b.count(`payments WHERE next_check_at IS NOT NULL`))
}

func TestPoll_BacksOffAndCloses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	looks := 0
	for range 73 * 240 { // every 15 s for 73 hours
		b.advance(15 * time.Second)
		if b.count(`payments WHERE next_check_at <= $1`, b.clock()) == 1 {
			looks++
			require.NoError(t, b.Poll(t.Context()))
		}
		if b.count(`payments WHERE next_check_at IS NOT NULL`) == 0 {
			break
		}
	}
	require.InDelta(t, 80, looks, 3)
	require.Equal(t, billing.StatusFailed, b.payment(payment.Reference).Status)

	// The customer comes back to the open page a week later.
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.sim.ClearFaults()
	require.NoError(t, b.sim.Resend(b.sim.Deliveries()[0].ID))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
}

func TestPoll_GatewayDownClosesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.gateway.breakDown(errDown)
	for range 5 {
		b.advance(24 * time.Hour)
		require.NoError(t, b.Poll(t.Context()))
	}
	require.Equal(t, 1, b.count(`payments WHERE status = 'pending' AND next_check_at IS NOT NULL`))
	b.gateway.breakDown(nil)
	b.advance(time.Minute)
	require.NoError(t, b.Poll(t.Context()))
	b.activatedOnce(client.ID, payment.Reference)
}

func TestPoll_NeverCreatedAtTheGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.account("ada")
	b.client(p, "acme", "basic")
	require.NoError(t, b.sim.AddFault(simulator.Fault{Kind: simulator.APIError500, Route: "initialize", Times: 1, Before: true}))
	_, err := b.Initialize(t.Context(), p, b.ip, billing.InitializeInput{PlanID: "basic"})
	require.ErrorIs(t, err, billing.ErrGatewayDown)
	b.advance(time.Minute)
	require.NoError(t, b.Poll(t.Context()))
	require.Equal(t, 1, b.count(`payments WHERE status = 'pending' AND next_check_at IS NOT NULL`), "it may still be in flight")
	b.advance(2 * time.Hour)
	require.NoError(t, b.Poll(t.Context()))
	require.Equal(t, 1, b.count(`payments WHERE status = 'failed' AND next_check_at IS NULL`))
}

func TestPoll_DeclinedIsNotTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, "4084080000005408"))
	require.NoError(t, b.sim.Pay(payment.Reference, "4084080000005408"))
	b.advance(time.Minute)
	require.NoError(t, b.Poll(t.Context()))
	require.Equal(t, billing.StatusFailed, b.payment(payment.Reference).Status)
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
}

func TestByReference_HastensThePoller(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.advance(6 * time.Second)
	got, err := b.ByReference(t.Context(), payment.Reference)
	require.NoError(t, err)
	require.Equal(t, billing.StatusPending, got.Status)
	require.NoError(t, b.Poll(t.Context()))
	b.activatedOnce(client.ID, payment.Reference)
}

func TestResumeProvisioning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	b.activatedOnce(client.ID, payment.Reference)
	_, err := b.pool.Exec(t.Context(), `DELETE FROM operations WHERE kind = 'tenant.provision'`) // somebody's mistake
	require.NoError(t, err)

	require.NoError(t, b.ResumeProvisioning(t.Context()))
	require.Zero(t, b.count(`operations WHERE kind = 'tenant.provision'`), "a moment of grace")
	b.advance(2 * time.Minute)
	require.NoError(t, b.ResumeProvisioning(t.Context()))
	b.settled()
	require.Equal(t, 1, b.count(`operations WHERE kind = 'tenant.provision'`))
	require.Equal(t, tenants.Provisioning, b.state(client.ID))
}

func TestResumeProvisioning_LeavesALiveOneAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	b.settled()
	_, err := b.pool.Exec(t.Context(), `UPDATE operations SET state = 'held', finished_at = NULL WHERE subject = $1`, client.ID.Subject())
	require.NoError(t, err)
	b.advance(2 * time.Minute)
	require.NoError(t, b.ResumeProvisioning(t.Context()))
	require.Equal(t, 1, b.count(`operations WHERE kind = 'tenant.provision'`))
}
