package tenants_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

func (b *bundle) suspendBy(id tenants.ID, by tenants.SuspendedBy) (c tenants.Change, err error) {
	err = b.tx(func(ctx context.Context, tx pgx.Tx) error {
		c, err = b.SuspendTx(ctx, tx, id, by, "because")
		return err
	})
	return c, err
}

func (b *bundle) resumeBy(id tenants.ID, by tenants.SuspendedBy) (c tenants.Change, err error) {
	err = b.tx(func(ctx context.Context, tx pgx.Tx) error {
		c, err = b.ResumeTx(ctx, tx, id, by)
		return err
	})
	return c, err
}

func TestSuspendTx_OverrulesTheOwnerOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	tenant, owner := b.in("suspended", "acme", boss)
	c, err := b.suspendBy(tenant.ID, tenants.ByBilling)
	require.NoError(t, err)
	require.Nil(t, c.Operation, "it is stopped already")
	require.Equal(t, tenants.ByBilling, c.Tenant.SuspendedBy)
	require.Equal(t, 1, b.count(`FROM activity_log WHERE tenant_id = $1 AND actor = 'system' AND action = 'client.suspend'`, tenant.ID))

	_, err = b.Resume(t.Context(), owner, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrSuspendedByOther)
	require.ErrorContains(t, err, "payment is due")
	_, err = b.suspendBy(tenant.ID, tenants.ByQuota)
	require.ErrorIs(t, err, tenants.ErrAlreadySuspended, "the first of the house stays")
	_, err = b.resumeBy(tenant.ID, tenants.ByQuota)
	require.ErrorIs(t, err, tenants.ErrSuspendedByOther)
	c, err = b.resumeBy(tenant.ID, tenants.ByBilling)
	require.NoError(t, err)
	require.Equal(t, tenants.ResumeKind, c.Operation.Kind)
	b.finish(tenant.ID)
	found, err := b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Active, found.State)
	require.Empty(t, found.SuspendedBy)
	require.Empty(t, found.SuspendReason)
}

// Nobody gets round billing by scheduling a deletion and cancelling it.
func TestSuspendTx_OfWhatIsScheduled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, owner := b.in("scheduled, was active", "acme", b.admin())
	c, err := b.suspendBy(tenant.ID, tenants.ByBilling)
	require.NoError(t, err)
	require.Equal(t, tenants.Suspended, c.Tenant.ReturnState)
	c, err = b.resumeBy(tenant.ID, tenants.ByBilling)
	require.NoError(t, err)
	require.Equal(t, tenants.Active, c.Tenant.ReturnState)
	_, err = b.suspendBy(tenant.ID, tenants.ByBilling)
	require.NoError(t, err)
	c, err = b.CancelDeletion(t.Context(), owner, b.ip, "acme")
	require.NoError(t, err)
	require.Equal(t, tenants.Suspended, c.Tenant.State)
	require.Equal(t, tenants.ByBilling, c.Tenant.SuspendedBy)
}

// An owner's own suspension, which they could lift, is no way round it either.
func TestSuspendTx_OfWhatItsOwnerSuspendedAndIsScheduled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, owner := b.in("suspended", "acme", b.admin())
	_, err := b.ScheduleDeletion(t.Context(), owner, b.ip, "acme", 12)
	require.NoError(t, err)
	require.Equal(t, tenants.ByOwner, b.found(tenant.ID).SuspendedBy)
	c, err := b.suspendBy(tenant.ID, tenants.ByBilling)
	require.NoError(t, err)
	require.Equal(t, tenants.ByBilling, c.Tenant.SuspendedBy)
	_, err = b.CancelDeletion(t.Context(), owner, b.ip, "acme")
	require.NoError(t, err)
	_, err = b.Resume(t.Context(), owner, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrSuspendedByOther)
}

func TestScheduleDeletionTx(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, owner := b.in("suspended", "acme", b.admin())
	at := b.clock().Add(30 * 24 * time.Hour)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		c, err := b.ScheduleDeletionTx(ctx, tx, tenant.ID, at, "unpaid for a month")
		require.Equal(t, at, c.Tenant.DeletionScheduledAt.UTC())
		return err
	}))
	list, err := b.Events(t.Context(), owner, "acme", 0, 0)
	require.NoError(t, err)
	require.Equal(t, "unpaid for a month", list[len(list)-1].Reason)
}

func TestDeleteUnpaidTx(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.account("ada")
	late, paid := b.create(owner, "late"), b.create(owner, "paid")
	drop := func(id tenants.ID) (deleted bool) {
		require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) (err error) {
			deleted, err = b.DeleteUnpaidTx(ctx, tx, id, b.clock())
			return err
		}))
		return deleted
	}
	b.advance(24*time.Hour - time.Microsecond)
	require.False(t, drop(late.ID))
	ids, err := b.DueUnpaid(t.Context(), b.clock(), 10)
	require.NoError(t, err)
	require.Empty(t, ids)
	b.advance(time.Microsecond)
	ids, err = b.DueUnpaid(t.Context(), b.clock(), 10)
	require.NoError(t, err)
	require.Equal(t, []tenants.ID{late.ID, paid.ID}, ids)
	b.pay(paid.ID)
	require.False(t, drop(paid.ID), "paid in the last moment")
	require.True(t, drop(late.ID))
	require.False(t, drop(late.ID))
	_, err = b.Get(t.Context(), owner, "late")
	require.ErrorIs(t, err, tenants.ErrNotFound)
	b.create(owner, "late")
	require.Equal(t, 1, b.count(`FROM activity_log WHERE tenant_id = $1 AND action = 'client.delete' AND actor = 'system'`, late.ID))
}

func TestClaimDueDeletionTx_TheUnpaidIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, _ := b.in("scheduled, was pending", "acme", b.admin())
	b.advance(12 * time.Hour)
	ids, err := b.DueDeletions(t.Context(), b.clock(), 10)
	require.NoError(t, err)
	require.Equal(t, []tenants.ID{tenant.ID}, ids)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		claimed, op, err := b.ClaimDueDeletionTx(ctx, tx, tenant.ID, b.clock())
		require.True(t, claimed)
		require.Nil(t, op)
		return err
	}))
	require.Equal(t, []tenants.State{tenants.Pending, tenants.Scheduled, tenants.Deleted}, b.history(tenant.ID))
}

// Work that ends after somebody changed their mind says nothing about the tenant.
func TestMark_ChangedMinds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for name, tc := range map[string]struct {
		situation, command string
		mark               func(ctx context.Context, tx pgx.Tx, id tenants.ID) error
		want               string
	}{
		"suspended, but resumed":  {"suspending", "resume", b.MarkSuspendedTx, "active/active"},
		"suspended, but deleted":  {"suspending", "delete", b.MarkSuspendedTx, "deleting/deleted"},
		"resumed, but suspended":  {"resuming", "suspend", b.resumed, "suspended/suspended"},
		"resumed, but scheduled":  {"resuming", "schedule", b.resumed, "scheduled_for_deletion/deleted"},
		"resumed, but deleted":    {"cancelling", "delete", b.resumed, "deleting/deleted"},
		"started, but scheduled":  {"cancelling", "schedule", b.resumed, "scheduled_for_deletion/deleted"},
		"suspended once more":     {"suspended", "suspend", b.MarkSuspendedTx, "suspended/suspended"},
		"resumed, and was active": {"active", "activate", b.resumed, "active/active"},
	} {
		tenant, _ := b.in(tc.situation, "t-"+secretName(name), boss)
		_, err := b.commands()[tc.command](t.Context(), boss, tenant.Name)
		require.NoError(t, err, name)
		require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return tc.mark(ctx, tx, tenant.ID) }), name)
		found, err := b.ByID(t.Context(), tenant.ID)
		require.NoError(t, err)
		require.Equal(t, tc.want, string(found.State)+"/"+string(found.Desired), name)
	}
}

func (b *bundle) resumed(ctx context.Context, tx pgx.Tx, id tenants.ID) error {
	return b.MarkResumedTx(ctx, tx, id, endpoint())
}

// secretName makes a tenant's name of a test's.
func secretName(name string) string {
	out := []rune(nil)
	for _, r := range name {
		if r >= 'a' && r <= 'z' {
			out = append(out, r)
		}
	}
	return string(out)
}

// The table refuses what can't be, whoever writes it.
func TestTable_RefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for i, tc := range []struct{ situation, set string }{
		{"pending", "paid_at = now()"},
		{"pending", "desired = 'suspended', suspended_by = 'admin'"},
		{"pending", "state = 'active'"},
		{"pending", "state = 'deleting', desired = 'deleted'"},
		{"active", "paid_at = NULL"},
		{"active", "desired = 'deleted'"},
		{"active", "desired = 'suspended'"},
		{"active", "suspended_by = 'billing'"},
		{"active", "suspend_reason = 'none'"},
		{"active", "deletion_scheduled_at = now()"},
		{"active", "return_state = 'active'"},
		{"active", "deleted_at = now()"},
		{"active", "state = 'scheduled_for_deletion', desired = 'deleted', deletion_scheduled_at = now()"},
		{"active", "state = 'pending'"},
		{"active", "final_backup_skipped = 'no'"},
		{"suspended", "suspended_by = NULL"},
		{"suspended", "suspended_by = 'mallory'"},
		{"suspended", "state = 'active', desired = 'active'"},
		{"scheduled, was pending", "return_state = 'active'"},
		{"scheduled, was pending", "desired = 'active', deletion_scheduled_at = NULL"},
		{"scheduled, was active", "deletion_scheduled_at = NULL"},
		{"scheduled, was active", "desired = 'active'"},
		{"scheduled, was active", "desired = 'suspended'"},
		{"scheduled, was active", "return_state = 'pending'"},
		{"scheduled, was active", "return_state = NULL"},
		{"scheduled, was suspended", "suspended_by = NULL"},
		{"cancelling", "deletion_scheduled_at = now()"},
		{"deleting", "desired = 'active'"},
		{"deleting", "state = 'deleted'"},
		{"deleted", "deleted_at = NULL"},
	} {
		tenant, _ := b.in(tc.situation, "t-"+tenants.ID(100+i).String(), boss)
		_, err := b.pool.Exec(t.Context(), "UPDATE tenants SET "+tc.set+" WHERE id = $1", tenant.ID)
		require.NotEmpty(t, postgres.CheckViolation(err), "%s: %s: %v", tc.situation, tc.set, err)
	}
}

func TestRoutes_OnTheWayToAnotherState(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	want := map[string]tenants.State{
		"suspending": tenants.Suspended, "resuming": tenants.Provisioning, "cancelling": tenants.Provisioning, "active": tenants.Active,
		"suspended": tenants.Suspended, "scheduled, was active": tenants.Scheduled, "deleting": tenants.Deleting, "sleeping": tenants.Sleeping,
	}
	for situation, state := range want {
		tenant, _ := b.in(situation, "t-"+secretName(situation), boss)
		r, found, err := tenants.RouteOf(t.Context(), b.pool, tenant.ID)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, state, r.State, situation)
	}
}

// The edge hears of what is wanted, not only of what is.
func TestRoutes_TheEdgeIsToldAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, owner := b.in("active", "acme", b.admin())
	conn, err := b.pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, err = conn.Exec(t.Context(), "LISTEN edge_routes")
	require.NoError(t, err)
	_, err = b.Suspend(t.Context(), owner, b.ip, "acme", "")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	told, err := conn.Conn().WaitForNotification(ctx)
	require.NoError(t, err)
	require.Equal(t, tenant.ID.String(), told.Payload)
}

func TestEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	_, owner := b.in("suspended", "acme", boss)
	all, err := b.Events(t.Context(), owner, "acme", 0, 0)
	require.NoError(t, err)
	require.Equal(t, []tenants.State{tenants.Pending, tenants.Provisioning, tenants.Active, tenants.Suspended},
		[]tenants.State{all[0].To, all[1].To, all[2].To, all[3].To})
	require.Equal(t, tenants.State(""), all[0].From)
	rest, err := b.Events(t.Context(), boss, "acme", all[1].ID, 1)
	require.NoError(t, err)
	require.Equal(t, all[2:3], rest)
	_, err = b.Events(t.Context(), b.account("mallory"), "acme", 0, 0)
	require.ErrorIs(t, err, tenants.ErrNotFound)
	_, err = b.Events(t.Context(), owner, "acme", -1, 0)
	require.ErrorIs(t, err, tenants.ErrBadAfter)
	_, err = b.Events(t.Context(), owner, "acme", 0, 1001)
	require.ErrorIs(t, err, tenants.ErrBadLimit)
}

func TestTotals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for i, situation := range []string{"pending", "active", "suspended", "suspending", "deleted", "scheduled, was active"} {
		b.in(situation, "t-"+tenants.ID(100+i).String(), boss)
	}
	tenant, owner := b.in("active", "own", boss)
	_, err := b.pool.Exec(t.Context(), "UPDATE tenants SET disk_usage_mb = 7 WHERE id = $1", tenant.ID)
	require.NoError(t, err)
	own, err := b.Totals(t.Context(), owner)
	require.NoError(t, err)
	require.Equal(t, tenants.Totals{Clients: 1, Active: 1, DiskUsageMB: 7}, own)
	all, err := b.Totals(t.Context(), boss)
	require.NoError(t, err)
	require.Equal(t, tenants.Totals{Clients: 6, Active: 3, Suspended: 1, DiskUsageMB: 7}, all)
	none, err := b.Totals(t.Context(), b.account("mallory"))
	require.NoError(t, err)
	require.Zero(t, none)
}

// A row may say "suspended" before the container has stopped: then the answer names the operation that still stops it.
func TestSuspended_NotReportedAsDoneBeforeItHasStopped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for i, situation := range []string{"suspended while resuming", "cancelled while being suspended"} {
		name := fmt.Sprintf("t-%d", i)
		var id tenants.ID
		var c tenants.Change
		switch situation {
		case "suspended while resuming":
			tenant, owner := b.in("resuming", name, boss)
			id = tenant.ID
			_, err := b.Suspend(t.Context(), owner, b.ip, name, "")
			require.NoError(t, err)
			c, err = b.Suspend(t.Context(), owner, b.ip, name, "")
			require.NoError(t, err, "the same is asked for again")
		default:
			tenant, owner := b.in("suspending", name, boss)
			id = tenant.ID
			_, err := b.ScheduleDeletion(t.Context(), owner, b.ip, name, 12)
			require.NoError(t, err)
			c, err = b.CancelDeletion(t.Context(), owner, b.ip, name)
			require.NoError(t, err)
		}
		require.Equal(t, tenants.Suspended, c.Tenant.State, situation)
		require.NotNil(t, c.Operation, situation)
		going := c.Operation.ID

		over, err := b.Suspend(t.Context(), boss, b.ip, name, "unpaid elsewhere")
		require.NoError(t, err)
		require.Equal(t, going, over.Operation.ID, "whoever overrules reads it too")
		_, err = b.pool.Exec(t.Context(), `UPDATE operations SET state = 'abandoned', finished_at = now() WHERE subject = $1 AND id <> $2 AND finished_at IS NULL`, id.Subject(), going)
		require.NoError(t, err)
		_, err = b.pool.Exec(t.Context(), `UPDATE operations SET state = 'held' WHERE id = $1`, going)
		require.NoError(t, err)
		again, err := b.Suspend(t.Context(), boss, b.ip, name, "")
		require.NoError(t, err)
		require.Equal(t, tenants.SuspendKind, again.Operation.Kind, "what didn't stop is stopped again")
		require.NotEqual(t, going, again.Operation.ID)
		b.finish(id)
		_, err = b.Suspend(t.Context(), boss, b.ip, name, "")
		require.ErrorIs(t, err, tenants.ErrAlreadySuspended)
	}
}
