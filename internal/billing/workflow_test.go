package billing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
)

// applied is a paid purchase whose event is stored and not applied; build puts it back to that.
func applied(t *testing.T) (b *bundle, build func(t *testing.T) ops.Workflow, check func(t *testing.T)) {
	t.Helper()
	b = setupIdle(t)
	b.dropWebhooks()
	_, client, payment := b.purchase()
	require.NoError(t, b.sim.Pay(payment.Reference, ""))
	build = func(t *testing.T) ops.Workflow {
		t.Helper()
		for _, sql := range []string{
			`DELETE FROM operations WHERE kind = 'tenant.provision'`,
			`DELETE FROM tenant_events WHERE to_state = 'provisioning'`,
			`UPDATE payments SET status = 'pending', completed_at = NULL, subscription_id = NULL`,
			`DELETE FROM subscriptions`,
			`UPDATE tenants SET state = 'pending', payment_status = 'pending', payment_reference = NULL, paid_at = NULL`,
			`DELETE FROM payment_events`,
		} {
			_, err := b.pool.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		_, err := b.pool.Exec(t.Context(), `INSERT INTO payment_events (id, dedupe_key, event, reference, body) OVERRIDING SYSTEM VALUE
			VALUES (7, 'key', 'charge.success', $1, '')`, payment.Reference)
		require.NoError(t, err)
		return b.EventWorkflow()
	}
	check = func(t *testing.T) {
		t.Helper()
		b.activatedOnce(client.ID, payment.Reference)
		require.Equal(t, 1, b.count(`payment_events WHERE outcome = 'activated' AND applied_at IS NOT NULL`))
	}
	return b, build, check
}

func TestEventWorkflow_Repeat(t *testing.T) {
	t.Parallel()
	b, build, check := applied(t)
	opstest.Repeat(t, b.pool, build, map[string]int{"event_id": 7}, "payment_event/7", check)
}

func TestEventWorkflow_FailEach(t *testing.T) {
	t.Parallel()
	b, build, check := applied(t)
	opstest.FailEach(t, b.pool, build, map[string]int{"event_id": 7}, "payment_event/7", check)
}

func TestEventWorkflow_CrashEach(t *testing.T) {
	t.Parallel()
	b, build, check := applied(t)
	opstest.CrashEach(t, b.pool, build, map[string]int{"event_id": 7}, "payment_event/7", check)
}
