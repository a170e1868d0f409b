package tenants_test

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

// situations are what a tenant can be in: its states, and what is between them.
func situations() []string {
	return []string{
		"pending", "provisioning", "active", "sleeping", "maintenance", "failed", "suspending", "suspended", "suspended by admin", "resuming",
		"scheduled, was pending", "scheduled, was active", "scheduled, was suspended", "scheduled, was failed", "cancelling", "deleting", "deleted",
	}
}

// in returns a tenant of a new owner in the situation.
func (b *bundle) in(situation, name string, boss accounts.Principal) (tenants.Tenant, accounts.Principal) {
	b.t.Helper()
	owner := b.account("owner-of-" + name)
	t := b.create(owner, name)
	do := func(err error) { b.t.Helper(); require.NoError(b.t, err) }
	run := func(f func() (tenants.Change, error)) { b.t.Helper(); _, err := f(); do(err) }
	suspend := func(p accounts.Principal) {
		run(func() (tenants.Change, error) { return b.Suspend(b.t.Context(), p, b.ip, name, "") })
	}
	schedule := func() {
		run(func() (tenants.Change, error) { return b.ScheduleDeletion(b.t.Context(), owner, b.ip, name, 12) })
	}
	finish := func() { b.finish(t.ID) }
	steps := map[string]func(){
		"pending":            func() {},
		"provisioning":       func() { b.pay(t.ID) },
		"active":             func() {},
		"sleeping":           func() { do(b.move(t.ID, tenants.Active, tenants.Sleeping)) },
		"maintenance":        func() { do(b.move(t.ID, tenants.Active, tenants.Maintenance)) },
		"failed":             func() { b.fail(t.ID) },
		"suspending":         func() { suspend(owner) },
		"suspended":          func() { suspend(owner); finish() },
		"suspended by admin": func() { suspend(boss); finish() },
		"resuming": func() {
			suspend(owner)
			finish()
			run(func() (tenants.Change, error) { return b.Resume(b.t.Context(), owner, b.ip, name) })
		},
		"scheduled, was pending":   schedule,
		"scheduled, was active":    func() { schedule(); finish() },
		"scheduled, was suspended": func() { suspend(boss); finish(); schedule(); finish() },
		"scheduled, was failed":    func() { b.fail(t.ID); schedule(); finish() },
		"cancelling": func() {
			schedule()
			finish()
			run(func() (tenants.Change, error) { return b.CancelDeletion(b.t.Context(), owner, b.ip, name) })
		},
		"deleting": func() {
			run(func() (tenants.Change, error) {
				return b.Delete(b.t.Context(), boss, b.ip, name, tenants.DeleteInput{})
			})
		},
		"deleted": func() {
			run(func() (tenants.Change, error) {
				return b.Delete(b.t.Context(), boss, b.ip, name, tenants.DeleteInput{})
			})
			finish()
		},
	}
	switch situation {
	case "pending", "provisioning", "failed", "scheduled, was pending", "scheduled, was failed":
	default:
		b.activate(t.ID)
	}
	require.Contains(b.t, steps, situation)
	steps[situation]()
	t, err := b.ByID(b.t.Context(), t.ID)
	do(err)
	return t, owner
}

func (b *bundle) fail(id tenants.ID) {
	b.t.Helper()
	b.pay(id)
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.FailTx(ctx, tx, id, "no room") }))
}

// finish does what a worker does at the end of the tenant's live operation, and begins the one that is queued behind it. It reports
// whether there was one.
func (b *bundle) finish(id tenants.ID) bool {
	b.t.Helper()
	found := false
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		list, err := b.ops.Unfinished(ctx, tx, id.Subject())
		if err != nil || len(list) == 0 {
			return err
		}
		found = true
		if err := b.mark(ctx, tx, id, list[0].Kind); err != nil {
			return err
		}
		return endLive(ctx, tx, id, "done")
	}))
	return found
}

func (b *bundle) mark(ctx context.Context, tx pgx.Tx, id tenants.ID, kind string) error {
	switch kind {
	case tenants.ProvisionKind:
		return b.ActivateTx(ctx, tx, id, endpoint())
	case tenants.SuspendKind:
		return b.MarkSuspendedTx(ctx, tx, id)
	case tenants.ResumeKind:
		return b.MarkResumedTx(ctx, tx, id, endpoint())
	case tenants.DeleteKind:
		return b.MarkDeletedTx(ctx, tx, id)
	}
	return nil // stopping and resizing change no row
}

// endLive ends the live operation as a worker does.
func endLive(ctx context.Context, tx pgx.Tx, id tenants.ID, state string) error {
	_, err := tx.Exec(ctx, `UPDATE operations SET state = $2, finished_at = now()
		WHERE subject = $1 AND finished_at IS NULL AND state <> 'queued'`, id.Subject(), state)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `UPDATE operations SET state = 'running' WHERE subject = $1 AND state = 'queued'`, id.Subject())
	return err
}
