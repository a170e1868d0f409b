package provision_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// An unpaid client whose time above its quota runs out stays suspended when it is paid, without having run, and runs once both are over.
func TestMeasureDisks_QuotaBehindBilling(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	client := g.active(t, "acme", "basic")
	billing := func(do func(tx pgx.Tx) (tenants.Change, error)) tenants.Tenant {
		t.Helper()
		require.NoError(t, postgres.InTx(t.Context(), g.pool, func(tx pgx.Tx) error {
			_, err := do(tx)
			return err
		}))
		return g.now(t, client.ID)
	}
	g.measure(t, client, 13<<10) // of 10 GiB
	unpaid := billing(func(tx pgx.Tx) (tenants.Change, error) {
		return g.tenants.SuspendTx(t.Context(), tx, client.ID, tenants.ByBilling, "a payment is due")
	})
	require.Equal(t, tenants.WantsSuspended, unpaid.Desired)
	g.meters.advance(15 * 24 * time.Hour)
	g.measure(t, client, 13<<10)
	held := g.now(t, client.ID)
	require.Equal(t, tenants.ByBilling, held.SuspendedBy)
	require.Contains(t, held.AlsoOverQuota, "13.0 GiB")
	require.Contains(t, g.told(t, client.ID), provision.NoticeDiskSuspended)
	g.meters.advance(15 * 24 * time.Hour)
	g.measure(t, client, 13<<10)
	require.Equal(t, held.AlsoOverQuota, g.now(t, client.ID).AlsoOverQuota, "that is known")

	paid := billing(func(tx pgx.Tx) (tenants.Change, error) {
		return g.tenants.ResumeTx(t.Context(), tx, client.ID, tenants.ByBilling)
	})
	require.Equal(t, tenants.WantsSuspended, paid.Desired, "at once, not with the next measurement")
	require.Equal(t, tenants.ByQuota, paid.SuspendedBy)
	require.Equal(t, held.AlsoOverQuota, paid.SuspendReason)
	g.measure(t, client, 1<<10)
	require.Equal(t, tenants.WantsActive, g.now(t, client.ID).Desired)
	require.Contains(t, g.told(t, client.ID), provision.NoticeDiskResumed)
}

// What is over the quota no more is dropped behind billing, and nobody is told that a client runs which doesn't.
func TestMeasureDisks_QuotaLiftedBehindBilling(t *testing.T) {
	t.Parallel()
	g := setupGauge(t)
	client := g.active(t, "acme", "basic")
	require.NoError(t, postgres.InTx(t.Context(), g.pool, func(tx pgx.Tx) error {
		_, err := g.tenants.SuspendTx(t.Context(), tx, client.ID, tenants.ByBilling, "a payment is due")
		return err
	}))
	g.measure(t, client, 13<<10)
	g.meters.advance(15 * 24 * time.Hour)
	g.measure(t, client, 13<<10)
	require.NotEmpty(t, g.now(t, client.ID).AlsoOverQuota)
	g.measure(t, client, 1<<10)
	got := g.now(t, client.ID)
	require.Empty(t, got.AlsoOverQuota)
	require.Equal(t, tenants.ByBilling, got.SuspendedBy)
	require.NotContains(t, g.told(t, client.ID), provision.NoticeDiskResumed)
}
