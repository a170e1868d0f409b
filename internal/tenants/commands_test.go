package tenants_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// commands are what a person may ask for, with arguments that are fine.
func (b *bundle) commands() map[string]func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
	return map[string]func(context.Context, accounts.Principal, string) (tenants.Change, error){
		"suspend": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.Suspend(ctx, p, b.ip, name, "holidays")
		},
		"resume": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.Resume(ctx, p, b.ip, name)
		},
		"schedule": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.ScheduleDeletion(ctx, p, b.ip, name, 24)
		},
		"cancel": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.CancelDeletion(ctx, p, b.ip, name)
		},
		"delete": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.Delete(ctx, p, b.ip, name, tenants.DeleteInput{Reason: "fraud"})
		},
		"activate": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.Activate(ctx, p, b.ip, name, "paid in cash")
		},
		"plan": func(ctx context.Context, p accounts.Principal, name string) (tenants.Change, error) {
			return b.ChangePlan(ctx, p, b.ip, name, "business")
		},
	}
}

// outcome is an error's code, or "state/desired operation".
func outcome(c tenants.Change, err error) string {
	var e *errs.Error
	switch {
	case errors.As(err, &e):
		return e.Code
	case err != nil:
		return err.Error()
	}
	kind := "-"
	if c.Operation != nil {
		kind = c.Operation.Kind
	}
	return fmt.Sprintf("%s/%s %s", c.Tenant.State, c.Tenant.Desired, kind)
}

// expected tells, of every command, how it ends: for anybody, or first for the owner and then for an administrator. What isn't named
// ends as "".
func expected() map[string]map[string][]string {
	const conflict = "state_conflict"
	suspending, suspended := []string{"active/suspended tenant.suspend"}, []string{"already_suspended"}
	resuming, scheduled, stopping := "suspended/active tenant.resume", "scheduled_for_deletion/deleted -", "scheduled_for_deletion/deleted tenant.stop"
	cancelling, deleting := "scheduled_for_deletion/active tenant.resume", []string{"admin_only", "deleting/deleted tenant.delete"}
	return map[string]map[string][]string{
		"suspend": {
			"": {conflict}, "active": suspending, "suspending": {suspending[0], suspending[0]}, "sleeping": {"sleeping/suspended tenant.suspend"},
			"suspended": {suspended[0], "suspended/suspended -"}, "suspended by admin": suspended, "resuming": {"suspended/suspended tenant.suspend"},
		},
		"resume": {
			"": {"not_suspended"}, "pending": {"payment_required"}, "suspending": {"active/active tenant.resume"}, "suspended": {resuming},
			"suspended by admin": {"suspended_by_other", resuming}, "resuming": {resuming}, "scheduled, was pending": {conflict},
			"scheduled, was active": {conflict}, "scheduled, was suspended": {conflict}, "scheduled, was failed": {conflict},
			"cancelling": {conflict}, "deleting": {conflict},
		},
		"schedule": {
			"": {stopping}, "pending": {scheduled}, "provisioning": {conflict}, "maintenance": {conflict}, "scheduled, was pending": {scheduled},
			"scheduled, was active": {scheduled}, "scheduled, was suspended": {scheduled}, "scheduled, was failed": {scheduled},
			"deleting": {"already_deleted"},
		},
		"cancel": {
			"": {"not_scheduled"}, "scheduled, was pending": {"pending/active -"}, "scheduled, was active": {cancelling},
			"scheduled, was suspended": {"suspended/suspended -"}, "scheduled, was failed": {"failed/active -"}, "cancelling": {cancelling},
			"deleting": {"deletion_begun"},
		},
		"delete": {
			"": deleting, "pending": {"admin_only", "deleted/deleted -"}, "scheduled, was pending": {"admin_only", "deleted/deleted -"},
		},
		"activate": {
			"": {conflict}, "pending": {"payment_required", "provisioning/active tenant.provision"}, "provisioning": {"provisioning/active -"},
			"active": {"active/active -"}, "failed": {"admin_only", "provisioning/active tenant.provision"},
		},
		"plan": {
			"": {"plan_locked", conflict}, "pending": {"pending/active -"}, "active": {"plan_locked", "active/active tenant.resize"},
			"sleeping": {"plan_locked", "sleeping/active tenant.resize"}, "failed": {"plan_locked", "failed/active -"},
			"suspended":          {"plan_locked", "suspended/suspended tenant.resize"},
			"suspended by admin": {"plan_locked", "suspended/suspended tenant.resize"},
		},
	}
}

// Every command in every situation, by its owner, by somebody else and by an administrator.
func TestCommands(t *testing.T) {
	t.Parallel()
	for command, wants := range expected() {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			boss, other := b.admin(), b.account("mallory")
			do := b.commands()[command]
			for i, situation := range situations() {
				want, ok := wants[situation]
				if !ok {
					want = wants[""]
				}
				if situation == "deleted" {
					want = []string{"client_not_found"}
				}
				for j, byAdmin := range []bool{false, true} {
					name := fmt.Sprintf("t-%d-%d", i, j)
					before, caller := b.in(situation, name, boss)
					if byAdmin {
						caller = boss
					}
					_, err := do(t.Context(), other, name)
					require.ErrorIs(t, err, tenants.ErrNotFound, situation)
					c, err := do(t.Context(), caller, name)
					require.Equal(t, want[min(j, len(want)-1)], outcome(c, err), "%s, admin %t", situation, byAdmin)
					after, err2 := b.ByID(t.Context(), before.ID)
					require.NoError(t, err2)
					if err != nil {
						require.Equal(t, before, after, "a refusal changes nothing")
						continue
					}
					require.Equal(t, after, c.Tenant)
					recorded := b.count(`FROM activity_log WHERE tenant_id = $1 AND account_id = $2 AND host(ip) = '192.0.2.7'
						AND action LIKE 'client.%' AND detail::text LIKE '%[%'`, after.ID, caller.AccountID)
					if after.UpdatedAt != before.UpdatedAt || after.State != before.State || after.Desired != before.Desired {
						require.NotZero(t, recorded, "%s: who did it, and what was before and after", situation)
					}
				}
			}
		})
	}
}

func TestScheduleDeletion_Bounds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	_, owner := b.in("active", "acme", boss)
	for _, hours := range []int{-1, 0, 11, 721, 1 << 40} {
		_, err := b.ScheduleDeletion(t.Context(), owner, b.ip, "acme", hours)
		require.ErrorIs(t, err, tenants.ErrBadHours, "%d", hours)
	}
	for _, hours := range []int{-1, 0, 721} {
		_, err := b.ScheduleDeletion(t.Context(), boss, b.ip, "acme", hours)
		require.ErrorIs(t, err, tenants.ErrBadHours, "%d", hours)
	}
	first, err := b.ScheduleDeletion(t.Context(), boss, b.ip, "acme", 1)
	require.NoError(t, err)
	require.Equal(t, b.clock().Add(time.Hour), first.Tenant.DeletionScheduledAt.UTC())
	again, err := b.ScheduleDeletion(t.Context(), owner, b.ip, "acme", 720)
	require.NoError(t, err)
	require.Equal(t, first.Tenant, again.Tenant, "the first time stays")
	require.Equal(t, first.Operation.ID, again.Operation.ID)
}

func TestCancelDeletion_ReturnsToWhatItWas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	pending, ada := b.in("scheduled, was pending", "pend", boss)
	b.advance(11 * time.Hour)
	c, err := b.CancelDeletion(t.Context(), ada, b.ip, "pend")
	require.NoError(t, err)
	require.Equal(t, pending.PaymentDeadline, c.Tenant.PaymentDeadline, "no new day to pay")
	require.Nil(t, c.Tenant.PaidAt)
	require.Nil(t, c.Tenant.DeletionScheduledAt)

	suspended, bob := b.in("scheduled, was suspended", "susp", boss)
	c, err = b.CancelDeletion(t.Context(), bob, b.ip, "susp")
	require.NoError(t, err)
	require.Equal(t, tenants.ByAdmin, c.Tenant.SuspendedBy)
	require.Equal(t, suspended.SuspendedAt, c.Tenant.SuspendedAt)
	_, err = b.Resume(t.Context(), bob, b.ip, "susp")
	require.ErrorIs(t, err, tenants.ErrSuspendedByOther, "the detour lifts nothing")

	_, eve := b.in("scheduled, was failed", "fail", boss)
	c, err = b.CancelDeletion(t.Context(), eve, b.ip, "fail")
	require.NoError(t, err)
	require.Equal(t, "no room", c.Tenant.Failure)
}

func TestCancelDeletion_UntilTheDeadline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	t1, owner := b.in("scheduled, was active", "acme", boss)
	b.advance(12*time.Hour - time.Microsecond)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		claimed, _, err := b.ClaimDueDeletionTx(ctx, tx, t1.ID, b.clock())
		require.False(t, claimed, "not yet")
		return err
	}))
	b.advance(time.Microsecond)
	for _, p := range []accounts.Principal{owner, boss} {
		_, err := b.CancelDeletion(t.Context(), p, b.ip, "acme")
		require.ErrorIs(t, err, tenants.ErrTooLate)
	}
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		claimed, op, err := b.ClaimDueDeletionTx(ctx, tx, t1.ID, b.clock())
		require.True(t, claimed)
		require.Equal(t, tenants.DeleteKind, op.Kind)
		return err
	}))
}

func TestCancelDeletion_IsListedAgainAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, owner := b.in("scheduled, was active", "acme", b.admin())
	page, err := b.List(t.Context(), owner, tenants.ListFilter{})
	require.NoError(t, err)
	require.Zero(t, page.Total)
	_, err = b.CancelDeletion(t.Context(), owner, b.ip, "acme")
	require.NoError(t, err)
	page, err = b.List(t.Context(), owner, tenants.ListFilter{})
	require.NoError(t, err)
	require.Equal(t, "acme", names(page.Tenants))
}

// A suspension whose work was given up is asked for again by asking again.
func TestCommands_ARepeatEnqueuesWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for situation, command := range map[string]string{"suspending": "suspend", "resuming": "resume", "cancelling": "cancel", "deleting": "delete"} {
		tenant, _ := b.in(situation, situation, boss)
		first, err := b.commands()[command](t.Context(), boss, situation)
		require.NoError(t, err)
		same, err := b.commands()[command](t.Context(), boss, situation)
		require.NoError(t, err)
		require.Equal(t, first.Operation.ID, same.Operation.ID, situation)
		require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return endLive(ctx, tx, tenant.ID, "abandoned") }))
		again, err := b.commands()[command](t.Context(), boss, situation)
		require.NoError(t, err)
		require.NotEqual(t, first.Operation.ID, again.Operation.ID, situation)
		require.Equal(t, first.Operation.Kind, again.Operation.Kind)
		_, err = b.pool.Exec(t.Context(), `UPDATE operations SET state = 'held' WHERE id = $1`, again.Operation.ID)
		require.NoError(t, err)
		third, err := b.commands()[command](t.Context(), boss, situation)
		require.NoError(t, err)
		require.NotEqual(t, again.Operation.ID, third.Operation.ID, "what is held makes way")
		for _, op := range []ops.ID{again.Operation.ID, third.Operation.ID} {
			require.Equal(t, 1, b.count(`FROM activity_log WHERE tenant_id = $1 AND actor = $2 AND (detail->>'operation')::bigint = $3`,
				tenant.ID, boss.Username, op), "%s: who asked again is on record", situation)
		}
	}
}

func TestDelete_FreesTheNameAndKeepsTheHistory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	old, owner := b.in("active", "acme", boss)
	_, err := b.Delete(t.Context(), boss, b.ip, "acme", tenants.DeleteInput{Reason: "asked for"})
	require.NoError(t, err)
	_, err = b.Create(t.Context(), owner, b.ip, tenants.CreateInput{Name: "acme", Email: "a@b.test"})
	require.ErrorIs(t, err, tenants.ErrNameTaken, "its things aren't gone yet")
	b.finish(old.ID)
	require.Zero(t, b.count(`FROM tenant_secrets WHERE tenant_id = $1`, old.ID), "nobody needs its passwords")

	reborn := b.create(owner, "acme")
	require.NotEqual(t, old.ID, reborn.ID)
	kept, err := b.ByID(t.Context(), old.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Deleted, kept.State)
	require.NotNil(t, kept.DeletedAt)
	require.Equal(t, []tenants.State{tenants.Pending, tenants.Provisioning, tenants.Active, tenants.Deleting, tenants.Deleted}, b.history(old.ID))
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.MarkDeletedTx(ctx, tx, old.ID) }), "a repeat is harmless")
	found, err := b.Get(t.Context(), owner, "acme")
	require.NoError(t, err)
	require.Equal(t, reborn.ID, found.ID)
}

func TestDelete_SkippingTheFinalBackupTakesAReason(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	b.in("active", "acme", boss)
	_, err := b.Delete(t.Context(), boss, b.ip, "acme", tenants.DeleteInput{SkipFinalBackup: true, Reason: "  "})
	require.ErrorIs(t, err, tenants.ErrNoReason)
	first, err := b.Delete(t.Context(), boss, b.ip, "acme", tenants.DeleteInput{})
	require.NoError(t, err)
	require.Empty(t, first.Tenant.FinalBackupSkipped)
	again, err := b.Delete(t.Context(), boss, b.ip, "acme", tenants.DeleteInput{SkipFinalBackup: true, Reason: "the store is gone"})
	require.NoError(t, err)
	require.Equal(t, "the store is gone", again.Tenant.FinalBackupSkipped)
	require.Equal(t, first.Operation.ID, again.Operation.ID, "the waiting one sees it")
	require.Equal(t, 1, b.count(`FROM activity_log WHERE action = 'client.delete' AND detail->>'reason' = 'the store is gone'`))

	b.in("active", "other", boss)
	c, err := b.Delete(t.Context(), boss, b.ip, "other", tenants.DeleteInput{SkipFinalBackup: true, Reason: "a test"})
	require.NoError(t, err)
	require.Equal(t, "a test", c.Tenant.FinalBackupSkipped)
}

func TestActivate_ByAnAdministrator(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	b.in("pending", "acme", boss)
	for reason, want := range map[string]error{"": tenants.ErrNoReason, " \t": tenants.ErrNoReason, "a\x00b": tenants.ErrBadReason} {
		_, err := b.Activate(t.Context(), boss, b.ip, "acme", reason)
		require.ErrorIs(t, err, want)
	}
	c, err := b.Activate(t.Context(), boss, b.ip, "acme", "paid in cash")
	require.NoError(t, err)
	require.Equal(t, "success", c.Tenant.PaymentStatus)
	require.Regexp(t, `^ADMIN-[0-9A-F]{12}$`, c.Tenant.PaymentReference)
	require.NotNil(t, c.Tenant.PaidAt)
	require.Equal(t, 1, b.count(`FROM activity_log WHERE action = 'client.activate' AND detail->>'reason' = 'paid in cash'`))
	again, err := b.Activate(t.Context(), boss, b.ip, "acme", "again")
	require.NoError(t, err)
	require.Equal(t, c.Operation.ID, again.Operation.ID)
}

func TestUpdate_PlanOfALiveClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	tenant, owner := b.in("active", "acme", boss)
	_, err := b.Update(t.Context(), owner, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("business")})
	require.ErrorIs(t, err, tenants.ErrPlanLocked)
	updated, err := b.Update(t.Context(), boss, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("business"), Notes: ptr("grew")})
	require.NoError(t, err)
	require.Equal(t, "business", updated.Tenant.PlanID)
	op, err := b.ops.Latest(t.Context(), tenant.ID.Subject())
	require.NoError(t, err)
	require.Equal(t, []any{tenants.ResizeKind, op.ID}, []any{updated.Operation.Kind, updated.Operation.ID})
	again, err := b.Update(t.Context(), boss, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("business")})
	require.NoError(t, err)
	require.Equal(t, op.ID, again.Operation.ID, "a repeat answers with what is going on")
	_, err = b.ChangePlan(t.Context(), boss, b.ip, "acme", "gold")
	require.ErrorIs(t, err, tenants.ErrUnknownPlan)
}
