package billing_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/billing"
	"controlplane/internal/tenants"
)

// lean is a customer who pays by links, where a plan is dearer than theirs, and has less disk.
func lean(t *testing.T) (*calendar, accounts.Principal, tenants.Tenant) {
	t.Helper()
	c, p, client := onPlan(t, "basic", cash)
	c.exec(`UPDATE plans SET storage_gb = 8 WHERE id = 'business'`)
	return c, p, client
}

// A dearer plan with less disk is refused with numbers, before any money is asked for, to a client that uses more; one with more disk isn't.
func TestChangePlan_DearerButTooSmall(t *testing.T) {
	t.Parallel()
	c, p, client := lean(t)
	c.outgrows(client)
	open := c.count(`payments`)
	for _, preview := range []bool{true, false} {
		_, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", preview)
		require.ErrorIs(t, err, billing.ErrDowngradeTooSmall)
		require.ErrorContains(t, err, "12.00 GB")
		require.ErrorContains(t, err, "has 8 GB")
	}
	require.Equal(t, open, c.count(`payments`))
	c.exec(`UPDATE plans SET storage_gb = 11 WHERE id = 'business'`)
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
	require.NoError(t, err, "basic has 10")
	require.Equal(t, billing.PlanPaymentRequired, change.Outcome)
}

// When the client outgrows it between link and payment it keeps its plan, and a person is told of the money.
func TestChangePlan_OutgrownBeforeItIsPaid(t *testing.T) {
	t.Parallel()
	c, p, client := lean(t)
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
	require.NoError(t, err)
	c.outgrows(client)
	c.pay(change.Reference)
	require.Equal(t, "basic", c.planOf(client.ID))
	require.Equal(t, 1, c.count(`credits WHERE resolution IS NULL AND reason LIKE '%12.00 GB%'`))
	require.Equal(t, 1, c.alerts("payment.unused"))
	c.balanced()
}

// A client that is being restored when the difference is paid has its larger plan once that is over.
func TestChangePlan_PaidDuringMaintenance(t *testing.T) {
	t.Parallel()
	c, p, client := onPlan(t, "basic", cash)
	change, err := c.ChangePlan(t.Context(), p, c.ip, "", "business", false)
	require.NoError(t, err)
	c.exec(`UPDATE tenants SET state = 'maintenance' WHERE id = $1`, client.ID)
	c.dropWebhooks()
	require.NoError(t, c.sim.Pay(change.Reference, cash))
	require.ErrorIs(t, c.Settle(t.Context(), change.Reference), tenants.ErrConflict)
	require.Equal(t, billing.StatusPending, c.payment(change.Reference).Status)
	c.exec(`UPDATE tenants SET state = 'active' WHERE id = $1`, client.ID)
	c.pass(hours, hours)
	require.Equal(t, "business", c.planOf(client.ID))
	require.Zero(t, c.count(`credits`))
	c.balanced()
}
