package tenants_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

// noted suspends for another side than the one that shows; the caller commits all the same.
func (b *bundle) noted(id tenants.ID, by tenants.SuspendedBy) {
	b.t.Helper()
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		_, err := b.SuspendTx(ctx, tx, id, by, "also "+string(by))
		if !errors.Is(err, tenants.ErrAlreadySuspended) && !errors.Is(err, tenants.ErrConflict) {
			return err
		}
		return nil
	}))
}

// dropped lifts what stands behind another's.
func (b *bundle) dropped(id tenants.ID, by tenants.SuspendedBy) {
	b.t.Helper()
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		_, err := b.ResumeTx(ctx, tx, id, by)
		if !errors.Is(err, tenants.ErrSuspendedByOther) && !errors.Is(err, tenants.ErrConflict) {
			return err
		}
		return nil
	}))
}

func (b *bundle) found(id tenants.ID) tenants.Tenant {
	b.t.Helper()
	t, err := b.ByID(b.t.Context(), id)
	require.NoError(b.t, err)
	return t
}

// Whoever is lifted first, the client stays suspended until nothing stands any more.
func TestSuspendTx_TwoCauses(t *testing.T) {
	t.Parallel()
	for _, tc := range [][2]tenants.SuspendedBy{{tenants.ByBilling, tenants.ByQuota}, {tenants.ByQuota, tenants.ByBilling}} {
		for _, firstFirst := range []bool{true, false} {
			b := setup(t)
			boss := b.admin()
			tenant, _ := b.in("active", "acme", boss)
			_, err := b.suspendBy(tenant.ID, tc[0])
			require.NoError(t, err)
			b.noted(tenant.ID, tc[1]) // while it is being stopped
			b.finish(tenant.ID)
			b.noted(tenant.ID, tc[1]) // and again
			require.True(t, b.found(tenant.ID).Causes(tc[0]))
			require.True(t, b.found(tenant.ID).Causes(tc[1]))
			last := tc[0]
			if firstFirst {
				c, err := b.resumeBy(tenant.ID, tc[0])
				require.NoError(t, err)
				require.Nil(t, c.Operation, "nothing is started")
				require.Equal(t, tc[1], c.Tenant.SuspendedBy)
				require.Equal(t, "also "+string(tc[1]), c.Tenant.SuspendReason)
				last = tc[1]
			} else {
				b.dropped(tenant.ID, tc[1])
			}
			got := b.found(tenant.ID)
			require.Equal(t, tenants.Suspended, got.State)
			require.Equal(t, tenants.WantsSuspended, got.Desired)
			require.Empty(t, got.AlsoUnpaid+got.AlsoOverQuota)
			c, err := b.resumeBy(tenant.ID, last)
			require.NoError(t, err)
			require.Equal(t, tenants.ResumeKind, c.Operation.Kind)
			b.finish(tenant.ID)
			require.Equal(t, tenants.Active, b.found(tenant.ID).State)
		}
	}
}

// An administrator's word is about everything, and one that they suspended stays so when all else is over.
func TestSuspendTx_CausesAndAdministrators(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	tenant, _ := b.in("active", "acme", boss)
	_, err := b.Suspend(t.Context(), boss, b.ip, "acme", "abuse")
	require.NoError(t, err)
	b.finish(tenant.ID)
	b.noted(tenant.ID, tenants.ByBilling)
	b.noted(tenant.ID, tenants.ByQuota)
	require.Equal(t, tenants.ByAdmin, b.found(tenant.ID).SuspendedBy)
	b.dropped(tenant.ID, tenants.ByBilling)
	require.Equal(t, tenants.ByAdmin, b.found(tenant.ID).SuspendedBy)
	_, err = b.Resume(t.Context(), boss, b.ip, "acme")
	require.NoError(t, err)
	b.finish(tenant.ID)
	got := b.found(tenant.ID)
	require.Equal(t, tenants.Active, got.State)
	require.Empty(t, got.AlsoUnpaid+got.AlsoOverQuota)
}

// What stands behind outlives a scheduled deletion that is cancelled.
func TestSuspendTx_CausesWhileScheduled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	tenant, _ := b.in("active", "acme", boss)
	_, err := b.suspendBy(tenant.ID, tenants.ByQuota)
	require.NoError(t, err)
	b.finish(tenant.ID)
	_, err = b.ScheduleDeletion(t.Context(), boss, b.ip, "acme", 48)
	require.NoError(t, err)
	b.noted(tenant.ID, tenants.ByBilling)
	c, err := b.resumeBy(tenant.ID, tenants.ByQuota)
	require.NoError(t, err)
	require.Equal(t, tenants.ByBilling, c.Tenant.SuspendedBy)
	_, err = b.CancelDeletion(t.Context(), boss, b.ip, "acme")
	require.NoError(t, err)
	got := b.found(tenant.ID)
	require.Equal(t, tenants.Suspended, got.State)
	require.Equal(t, tenants.ByBilling, got.SuspendedBy)
	_, err = b.Delete(t.Context(), boss, b.ip, "acme", tenants.DeleteInput{})
	require.NoError(t, err)
}
