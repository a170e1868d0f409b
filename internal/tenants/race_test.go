package tenants_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// together runs functions at the same moment and returns their errors.
func together(do ...func() error) []error {
	found := make([]error, len(do))
	var begin, all sync.WaitGroup
	begin.Add(1)
	for i, f := range do {
		all.Go(func() {
			begin.Wait()
			found[i] = f()
		})
	}
	begin.Done()
	all.Wait()
	return found
}

// settled requires that every refusal was one that a person can read.
func settled(t *testing.T, found []error) (succeeded int) {
	t.Helper()
	for _, err := range found {
		if err == nil {
			succeeded++
			continue
		}
		require.NotEqual(t, errs.Internal, errs.KindOf(err), "%v", err)
	}
	return succeeded
}

const rounds = 100

func TestRace_SuspendAgainstDelete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for i := range rounds {
		tenant, owner := b.in("active", fmt.Sprintf("race-%d", i), boss)
		settled(t, together(
			func() error { _, err := b.Suspend(t.Context(), owner, b.ip, tenant.Name, ""); return err },
			func() error {
				_, err := b.Delete(t.Context(), boss, b.ip, tenant.Name, tenants.DeleteInput{})
				return err
			},
			func() error { _, err := b.Suspend(t.Context(), owner, b.ip, tenant.Name, ""); return err },
		))
		for b.finish(tenant.ID) {
		}
		found, err := b.ByID(t.Context(), tenant.ID)
		require.NoError(t, err)
		require.Equal(t, tenants.Deleted, found.State, "whatever came first, the deletion is done")
	}
}

func TestRace_CancelAgainstClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for i := range rounds {
		tenant, owner := b.in("scheduled, was active", fmt.Sprintf("race-%d", i), boss)
		due := tenant.DeletionScheduledAt.Add(time.Second) // the sweep's clock is ahead
		var claims [2]bool
		claim := func(n int) func() error {
			return func() error {
				return b.tx(func(ctx context.Context, tx pgx.Tx) (err error) {
					claims[n], _, err = b.ClaimDueDeletionTx(ctx, tx, tenant.ID, due)
					return err
				})
			}
		}
		found := together(claim(0), func() error { _, err := b.CancelDeletion(t.Context(), owner, b.ip, tenant.Name); return err }, claim(1))
		settled(t, found)
		cancelled := found[1] == nil
		require.False(t, claims[0] && claims[1], "two sweeps claim once")
		require.NotEqual(t, cancelled, claims[0] || claims[1], "exactly one wins")
		for b.finish(tenant.ID) {
		}
		is, err := b.ByID(t.Context(), tenant.ID)
		require.NoError(t, err)
		require.Equal(t, map[bool]tenants.State{true: tenants.Active, false: tenants.Deleted}[cancelled], is.State)
	}
}

func TestRace_PaymentAgainstUnpaidSweep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	for i := range rounds {
		tenant, _ := b.in("pending", fmt.Sprintf("race-%d", i), boss)
		var paid, deleted bool
		settled(t, together(
			func() error {
				return b.tx(func(ctx context.Context, tx pgx.Tx) (err error) {
					paid, err = b.MarkPaidTx(ctx, tx, tenant.ID, "ODOO-1")
					return err
				})
			},
			func() error {
				return b.tx(func(ctx context.Context, tx pgx.Tx) (err error) {
					deleted, err = b.DeleteUnpaidTx(ctx, tx, tenant.ID, tenant.PaymentDeadline)
					return err
				})
			},
		))
		require.NotEqual(t, paid, deleted, "exactly one wins")
	}
}

func TestRace_ScheduleThirtyTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant, owner := b.in("active", "acme", b.admin())
	var do []func() error
	var mu sync.Mutex
	seen := map[time.Time]bool{}
	for i := range 30 {
		do = append(do, func() error {
			c, err := b.ScheduleDeletion(t.Context(), owner, b.ip, "acme", 12+i)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				seen[c.Tenant.DeletionScheduledAt.UTC()] = true
			}
			return err
		})
	}
	require.Equal(t, 30, settled(t, together(do...)))
	require.Len(t, seen, 1, "all are told the first one's time")
	require.Equal(t, 1, b.count(`FROM operations WHERE subject = $1`, tenant.ID.Subject()))
	require.Equal(t, 1, b.count(`FROM activity_log WHERE action = 'client.schedule_delete'`))
}

// Anything against anything: no deadlock, and whatever came out is whole and comes to rest.
func TestRace_ThirtyOfAllKinds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	order := []string{"suspend", "resume", "schedule", "cancel", "activate", "plan"}
	for round := range 6 {
		tenant, owner := b.in("active", fmt.Sprintf("race-%d", round), boss)
		var do []func() error
		for i := range 30 {
			caller, command := owner, b.commands()[order[i%len(order)]]
			if i%3 == 0 {
				caller = boss
			}
			do = append(do, func() error { _, err := command(t.Context(), caller, tenant.Name); return err })
			if i%5 == 0 { // and a worker
				do = append(do, func() error {
					return b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.mark(ctx, tx, tenant.ID, tenants.SuspendKind) })
				})
			}
		}
		require.NotZero(t, settled(t, together(do...)))
		for b.finish(tenant.ID) {
		}
		found, err := b.ByID(t.Context(), tenant.ID)
		require.NoError(t, err)
		require.True(t, atRest(found), "%s/%s", found.State, found.Desired)
	}
}

// atRest reports whether a tenant is what it is wanted to be.
func atRest(t tenants.Tenant) bool {
	switch t.State {
	case tenants.Active:
		return t.Desired == tenants.WantsActive
	case tenants.Suspended:
		return t.Desired == tenants.WantsSuspended
	case tenants.Scheduled:
		return t.Desired == tenants.WantsDeleted
	case tenants.Provisioning, tenants.Deleting:
		return false
	case tenants.Pending, tenants.Sleeping, tenants.Maintenance, tenants.Failed, tenants.Deleted:
	}
	return true
}
