package cleanup_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/cleanup"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

var errBroken = errors.New("it broke")

// deleter is an engine whose deletions do what do says, and then mark the client as deleted.
func (b *bundle) deleter(do func(ctx context.Context, r *ops.Run, id tenants.ID) error) {
	b.t.Helper()
	e := b.engine()
	e.Register(ops.Workflow{Kind: tenants.DeleteKind, Steps: []ops.Step{{
		Name: "delete",
		Do: func(ctx context.Context, r *ops.Run) error {
			var in tenants.OperationInput
			if err := r.Input(&in); err != nil {
				return err
			}
			return do(ctx, r, in.TenantID)
		},
		Tx: func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
			var in tenants.OperationInput
			if err := r.Input(&in); err != nil {
				return err
			}
			return b.tenants.MarkDeletedTx(ctx, tx, in.TenantID)
		},
	}}})
	b.start(e)
}

func TestUnpaid_DeletesOnlyWhatNobodyPaidFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	unpaid, underWay, broken, paid := b.client(ada, "unpaid"), b.client(ada, "under-way"), b.client(ada, "broken"), b.active(ada, "paid")
	b.money.says(func(_ context.Context, id tenants.ID) (bool, error) {
		switch id {
		case underWay.ID:
			return true, nil
		case broken.ID:
			return false, errBroken
		}
		return false, nil
	})
	run := s.Unpaid().Run
	b.advance(24*time.Hour - time.Second)
	result, err := run(t.Context())
	require.NoError(t, err)
	require.Zero(t, result.Done)

	b.advance(2 * time.Second)
	fresh := b.client(ada, "fresh")
	result, err = run(t.Context())
	require.ErrorContains(t, err, "1 clients couldn't be deleted")
	require.Equal(t, 1, result.Done)
	require.Equal(t, 1, result.Failed)
	require.Contains(t, result.Note, "1 kept")
	require.Equal(t, tenants.Deleted, b.state(unpaid.ID))
	for _, id := range []tenants.ID{underWay.ID, broken.ID, fresh.ID} {
		require.Equal(t, tenants.Pending, b.state(id))
	}
	require.Equal(t, tenants.Active, b.state(paid.ID))

	b.money.says(nil)
	result, err = run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, result.Done, "what failed is tried again")
}

func TestUnpaid_GatewayDownDeletesNobodyAndOwesTheTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	client := b.client(b.account("ada"), "unpaid")
	created := b.clock()
	b.advance(24*time.Hour + time.Minute)
	b.money.says(func(context.Context, tenants.ID) (bool, error) { return false, billing.ErrGatewayDown })
	_, err := s.Unpaid().Run(t.Context())
	require.ErrorIs(t, err, billing.ErrGatewayDown)
	require.Equal(t, tenants.Pending, b.state(client.ID))

	// It was away for the last two hours before the deadline, and for one more hour in the time that was added.
	down := created.Add(22 * time.Hour)
	b.money.says(nil)
	b.money.outage = func(from, to time.Time) time.Duration {
		begin, end := down, down.Add(3*time.Hour)
		return max(0, minTime(end, to).Sub(maxTime(begin, from)))
	}
	for _, test := range []struct {
		after time.Duration
		want  tenants.State
	}{{25 * time.Hour, tenants.Pending}, {27*time.Hour - time.Minute, tenants.Pending}, {27*time.Hour + time.Minute, tenants.Deleted}} {
		b.advance(created.Add(test.after).Sub(b.clock()))
		_, err = s.Unpaid().Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, test.want, b.state(client.ID), test.after)
	}
}

func TestUnpaid_SilenceAboutOneDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	poison := b.client(ada, "poison") // due first, each time
	for _, name := range b.names(40, "unpaid") {
		b.client(ada, name)
	}
	b.advance(25 * time.Hour)
	b.money.says(func(_ context.Context, id tenants.ID) (bool, error) {
		if id == poison.ID {
			return false, billing.ErrGatewayDown
		}
		return false, nil
	})
	result, err := s.Unpaid().Run(t.Context())
	require.ErrorIs(t, err, billing.ErrGatewayDown)
	require.Equal(t, cleanup.Result{Done: 40, Failed: 1}, result)
	require.Equal(t, tenants.Pending, b.state(poison.ID))
}

func TestUnpaid_StopsWhenTheGatewayIsDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	for _, name := range b.names(40, "unpaid") {
		b.client(ada, name)
	}
	b.advance(25 * time.Hour)
	var calls atomic.Int32
	b.money.says(func(context.Context, tenants.ID) (bool, error) {
		calls.Add(1)
		return false, billing.ErrGatewayDown
	})
	r, err := s.RunExpired(t.Context(), b.admin, b.ip, 10*time.Second)
	require.NoError(t, err)
	require.Less(t, calls.Load(), int32(10), "the others would wait for nothing as well")
	require.Len(t, r.Failures, int(calls.Load()))
	require.Equal(t, 40, r.Pending+len(r.Failures))
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func TestDeletions_BeginOnceTheTimeHasCome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	due, cancelled, later, unpaid := b.scheduled(ada, "due"), b.scheduled(ada, "cancelled"), b.active(ada, "later"), b.client(ada, "unpaid")
	_, err := b.tenants.CancelDeletion(t.Context(), ada, b.ip, "cancelled")
	require.NoError(t, err)
	_, err = b.tenants.ScheduleDeletion(t.Context(), b.admin, b.ip, "later", 2)
	require.NoError(t, err)
	_, err = b.tenants.ScheduleDeletion(t.Context(), b.admin, b.ip, "unpaid", 1)
	require.NoError(t, err)
	b.advance(time.Hour)
	b.money.extended = due.ID
	for _, want := range []int{1, 1, 0} {
		result, err := s.Deletions().Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, result.Done)
		b.money.extended = 0
	}
	require.Equal(t, tenants.Deleting, b.state(due.ID))
	require.Equal(t, tenants.Deleted, b.state(unpaid.ID), "nothing of it exists")
	require.NotEqual(t, tenants.Deleting, b.state(cancelled.ID))
	require.NotEqual(t, tenants.Deleting, b.state(later.ID))
	require.Equal(t, 1, b.count(`operations WHERE kind = $1`, tenants.DeleteKind))
}

func TestRunExpired_ReportsRealNumbers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	quick, slow, held := b.scheduled(ada, "quick"), b.scheduled(ada, "slow"), b.scheduled(ada, "held")
	b.advance(23 * time.Hour)
	unpaid, broken := b.client(ada, "unpaid"), b.client(ada, "broken")
	b.money.says(func(_ context.Context, id tenants.ID) (bool, error) {
		if id == broken.ID {
			return false, errBroken
		}
		return false, nil
	})
	release := make(chan struct{})
	defer close(release)
	b.deleter(func(ctx context.Context, _ *ops.Run, id tenants.ID) error {
		switch id {
		case slow.ID:
			select {
			case <-release:
			case <-ctx.Done():
			}
			return ctx.Err()
		case held.ID:
			return ops.Permanent(errBroken)
		}
		return nil
	})
	b.advance(24 * time.Hour)
	began := time.Now()
	r, err := s.RunExpired(t.Context(), b.admin, b.ip, time.Second)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
	require.Equal(t, 2, r.Deleted)
	require.Equal(t, 1, r.UnpaidExpired)
	require.Equal(t, 3, r.ScheduledDeletions)
	require.Equal(t, 1, r.Pending)
	require.Len(t, r.Failures, 2)
	require.Equal(t, tenants.Deleted, b.state(unpaid.ID))
	require.Equal(t, tenants.Deleted, b.state(quick.ID))
	require.Equal(t, 1, b.count(`activity_log WHERE action = 'cleanup.run' AND actor = 'root' AND ip = $1`, b.ip))

	b.money.says(nil)
	r, err = s.RunExpired(t.Context(), b.admin, b.ip, time.Second)
	require.NoError(t, err)
	require.Equal(t, 1, r.Deleted, "the one that failed; the others are on their way")
	require.Equal(t, tenants.Deleted, b.state(broken.ID))
}

func TestRunExpired_TimeUpIsPendingNotFailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	for _, name := range b.names(8, "unpaid") {
		b.client(ada, name)
	}
	b.advance(25 * time.Hour)
	b.money.says(func(ctx context.Context, _ tenants.ID) (bool, error) {
		<-ctx.Done()
		return false, billing.ErrGatewayDown.WithCause(ctx.Err())
	})
	r, err := s.RunExpired(t.Context(), b.admin, b.ip, 100*time.Millisecond)
	require.NoError(t, err)
	require.Empty(t, r.Failures)
	require.Equal(t, 8, r.Pending)
	require.Zero(t, r.Deleted)
}

const rounds = 100

func TestRace_CancelAgainstSweep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	clients := make([]tenants.Tenant, rounds)
	for i, name := range b.names(rounds, "race") {
		clients[i] = b.scheduled(ada, name)
	}
	b.advance(time.Hour - time.Millisecond)
	var cancelled atomic.Int32
	for _, c := range clients {
		sweep := make(chan error, 1)
		go func() {
			b.advance(20 * time.Microsecond) // the deadline comes in the midst of it
			_, err := s.Deletions().Run(context.WithoutCancel(t.Context()))
			sweep <- err
		}()
		_, err := b.tenants.CancelDeletion(t.Context(), ada, b.ip, c.Name)
		if err == nil {
			cancelled.Add(1)
		}
		require.NoError(t, <-sweep)
		now, readErr := b.tenants.ByID(t.Context(), c.ID)
		require.NoError(t, readErr)
		deletions := b.count(`operations WHERE subject = $1 AND kind = $2`, c.ID.Subject(), tenants.DeleteKind)
		if err == nil {
			require.Equal(t, tenants.WantsActive, now.Desired)
			require.NotEqual(t, tenants.Deleting, now.State)
			require.Zero(t, deletions)
		} else {
			require.True(t, now.State == tenants.Deleting || now.State == tenants.Scheduled, now.State)
		}
	}
	b.advance(time.Hour)
	_, err := s.Deletions().Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, rounds-int(cancelled.Load()), b.count(`operations WHERE kind = $1`, tenants.DeleteKind))
	t.Logf("cancelled in time: %d of %d", cancelled.Load(), rounds)
}

func TestRace_PaymentAgainstSweep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	ada := b.account("ada")
	clients := make([]tenants.Tenant, rounds)
	for i, name := range b.names(rounds, "race") {
		clients[i] = b.client(ada, name)
	}
	b.advance(25 * time.Hour)
	activatedInTime := 0
	for i, c := range clients {
		// The gateway says that nothing was paid; the payment arrives right after that.
		asked, paid := make(chan struct{}), make(chan bool, 1)
		b.money.says(func(_ context.Context, id tenants.ID) (bool, error) {
			if id == c.ID {
				close(asked)
			}
			return id != c.ID, nil // the others' turn comes later
		})
		go func() {
			<-asked
			var activated bool
			err := pgx.BeginFunc(context.WithoutCancel(t.Context()), b.pool, func(tx pgx.Tx) (err error) {
				activated, err = b.tenants.MarkPaidTx(context.WithoutCancel(t.Context()), tx, c.ID, c.Name)
				return err
			})
			paid <- activated && err == nil
		}()
		_, err := s.Unpaid().Run(t.Context())
		require.NoError(t, err)
		activated := <-paid
		if activated {
			activatedInTime++
			require.Equal(t, tenants.Provisioning, b.state(c.ID), "round %d: a paid client is never deleted", i)
		} else {
			require.Equal(t, tenants.Deleted, b.state(c.ID), "round %d", i)
		}
	}
	t.Logf("paid in time: %d of %d", activatedInTime, rounds)
}

func TestRace_TwoSweeps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	one, _ := b.service()
	other, _ := b.service()
	ada := b.account("ada")
	for _, name := range b.names(rounds, "race") {
		b.scheduled(ada, name)
	}
	for _, name := range b.names(rounds, "unpaid") {
		b.client(ada, name)
	}
	b.advance(25 * time.Hour)
	done := make(chan int, 4)
	for _, run := range []func(context.Context) (int, error){
		func(ctx context.Context) (int, error) { r, err := one.Deletions().Run(ctx); return r.Done, err },
		func(ctx context.Context) (int, error) { r, err := other.Deletions().Run(ctx); return r.Done, err },
		func(ctx context.Context) (int, error) { r, err := one.Unpaid().Run(ctx); return r.Done, err },
		func(ctx context.Context) (int, error) { r, err := other.Unpaid().Run(ctx); return r.Done, err },
	} {
		go func() {
			n, err := run(context.WithoutCancel(t.Context()))
			if err != nil {
				n = -1000
			}
			done <- n
		}()
	}
	total := 0
	for range 4 {
		total += <-done
	}
	require.Equal(t, 2*rounds, total, "each was done by one of them")
	require.Equal(t, rounds, b.count(`operations WHERE kind = $1`, tenants.DeleteKind))
	require.Equal(t, rounds, b.count(`tenants WHERE state = 'deleted'`))
	require.Equal(t, rounds, b.count(`activity_log WHERE action = 'client.delete' AND detail->>'operation' IS NULL`))
}
