package ops_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

func (b *bundle) enqueueNext(e *ops.Engine, kind, subject string) ops.Operation {
	b.t.Helper()
	var op ops.Operation
	require.NoError(b.t, postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		op, err = e.EnqueueNextTx(b.t.Context(), tx, kind, subject, nil)
		return err
	}))
	return op
}

func (b *bundle) state(e *ops.Engine, id ops.ID) ops.State {
	b.t.Helper()
	op, err := e.Get(b.t.Context(), id)
	require.NoError(b.t, err)
	return op.State
}

func next(steps ...ops.Step) ops.Workflow { return ops.Workflow{Kind: "test.next", Steps: steps} }

func preemptible(steps ...ops.Step) ops.Workflow {
	w := workflow(steps...)
	w.Preemptible = true
	return w
}

func nothing(context.Context, *ops.Run) error { return nil }

func TestEnqueueNext_BeginsAtOnceWhenNothingIsLive(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(next(do("only", nothing)))
	op := b.enqueueNext(e, "test.next", "tenant/1")
	require.Equal(t, ops.Running, op.State)
	b.reaches(e, op.ID, ops.Done)
}

func TestEnqueueNext_BeginsWithTheEndOfTheLiveOne(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(t *testing.T, e *ops.Engine, id ops.ID) // of the live one, when it is released
		step func(ctx context.Context, bl *blocker) error
		tx   func(context.Context, pgx.Tx, *ops.Run) error
		want ops.State
	}{
		"done":         {want: ops.Done},
		"done with Tx": {want: ops.Done, tx: func(context.Context, pgx.Tx, *ops.Run) error { return nil }},
		"unwound": {want: ops.Abandoned, step: func(ctx context.Context, bl *blocker) error {
			return errors.Join(bl.do(ctx, nil), ops.Unwind(errBroken))
		}},
		"held": {want: ops.Abandoned, step: func(ctx context.Context, bl *blocker) error {
			return errors.Join(bl.do(ctx, nil), ops.Permanent(errBroken))
		}},
		"abandoned by an admin": {want: ops.Abandoned, end: func(t *testing.T, e *ops.Engine, id ops.ID) {
			t.Helper()
			require.NoError(t, e.Abandon(t.Context(), id, "not needed"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			bl := newBlocker()
			step := ops.Step{Name: "first", Do: bl.do, Tx: test.tx}
			if test.step != nil {
				step.Do = func(ctx context.Context, _ *ops.Run) error { return test.step(ctx, bl) }
			}
			e := b.running(workflow(step), next(do("only", nothing)))
			live := b.enqueue(e, "test.work", "tenant/1", nil)
			receive(t, bl.entered)

			op := b.enqueueNext(e, "test.next", "tenant/1")
			require.Equal(t, ops.Queued, op.State)
			require.Equal(t, ops.Running, b.state(e, live), "it isn't one to cut short")
			if test.end != nil {
				test.end(t, e, live)
				require.NotEqual(t, ops.Queued, b.state(e, op.ID), "in the same transaction")
			}
			close(bl.release)
			b.reaches(e, live, test.want)
			require.NotEqual(t, ops.Queued, b.state(e, op.ID), "in the same transaction")
			b.reaches(e, op.ID, ops.Done)
			require.Equal(t, []string{":queued", "only:started", "only:finished", "only:done"}, b.events(e, op.ID))
		})
	}
}

func TestEnqueueNext_EndsWhatIsHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(workflow(do("first", func(context.Context, *ops.Run) error { return ops.Permanent(errBroken) })), next(do("only", nothing)))
	held := b.enqueue(e, "test.work", "tenant/1", nil)
	b.reaches(e, held, ops.Held)
	op := b.enqueueNext(e, "test.next", "tenant/1")
	require.Equal(t, ops.Running, op.State)
	old, err := e.Get(t.Context(), held)
	require.NoError(t, err)
	require.Equal(t, ops.Abandoned, old.State)
	require.Contains(t, old.ErrorDetail, "superseded by test.next")
	b.reaches(e, op.ID, ops.Done)
}

func TestEnqueueNext_ASecondReplacesTheFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	e := b.running(workflow(do("first", bl.do)), next(do("only", nothing)))
	live := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, bl.entered)
	first, second := b.enqueueNext(e, "test.next", "tenant/1"), b.enqueueNext(e, "test.next", "tenant/1")
	require.Equal(t, ops.Abandoned, b.state(e, first.ID))
	require.Equal(t, ops.Queued, second.State)

	list, total, err := e.List(t.Context(), ops.ListFilter{State: ops.Queued, Limit: 10})
	require.NoError(t, err)
	require.Equal(t, 1, total)
	require.Equal(t, second.ID, list[0].ID)
	_, total, err = e.List(t.Context(), ops.ListFilter{Limit: 10})
	require.NoError(t, err)
	require.Equal(t, 2, total)
	latest, err := e.Latest(t.Context(), "tenant/1")
	require.NoError(t, err)
	require.Equal(t, second.ID, latest.ID)

	third := b.enqueueNext(e, "test.next", "tenant/1")
	require.NoError(t, e.Abandon(t.Context(), third.ID, "not needed either"))
	close(bl.release)
	b.reaches(e, live, ops.Done)
	require.Equal(t, ops.Abandoned, b.state(e, third.ID))
}

func TestEnqueueNext_ConcurrentCallsLeaveOneLiveAndOneQueued(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.engine(ops.Options{})
	const n = 8
	results := make(chan error, n)
	for range n {
		go func() {
			results <- postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
				_, err := e.EnqueueNextTx(t.Context(), tx, "test.next", "tenant/1", nil)
				return err
			})
		}()
	}
	for range n {
		require.NoError(t, receive(t, results))
	}
	count := map[ops.State]int{}
	for _, s := range []ops.State{ops.Running, ops.Queued, ops.Abandoned} {
		_, total, err := e.List(t.Context(), ops.ListFilter{State: s, Limit: 1})
		require.NoError(t, err)
		count[s] = total
	}
	require.Equal(t, map[ops.State]int{ops.Running: 1, ops.Queued: 1, ops.Abandoned: n - 2}, count)
}

func TestPreempt_InterruptsARunningStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	entered := make(chan struct{}, 1)
	var undone atomic.Bool
	e := b.running(preemptible(ops.Step{Name: "first", Do: func(ctx context.Context, _ *ops.Run) error {
		entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}, Undo: func(context.Context, *ops.Run) error { undone.Store(true); return nil }}), next(do("only", nothing)))
	live := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, entered)

	other := b.engine(ops.Options{}) // a process that knows no workflow and doesn't work
	began := time.Now()
	op := b.enqueueNext(other, "test.next", "tenant/1")
	b.reaches(e, live, ops.Abandoned)
	took := time.Since(began)
	b.reaches(e, op.ID, ops.Done)
	t.Logf("abandoned after %s", took)
	require.Less(t, took, time.Second)
	require.False(t, undone.Load())
	list, err := e.Events(t.Context(), live)
	require.NoError(t, err)
	require.Equal(t, "A newer request took its place.", list[len(list)-1].Message)
}

func TestPreempt_WakesOneThatSleeps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(preemptible(do("first", func(context.Context, *ops.Run) error { return ops.Snooze(time.Hour) })), next(do("only", nothing)))
	live := b.enqueue(e, "test.work", "tenant/1", nil)
	require.Eventually(t, func() bool { return slices.Contains(b.events(e, live), "first:snoozed") }, 5*time.Second, 5*time.Millisecond)
	op := b.enqueueNext(e, "test.next", "tenant/1")
	b.reaches(e, op.ID, ops.Done)
	require.Equal(t, ops.Abandoned, b.state(e, live))
}

func TestPreempt_TheTxOfAStepIsNotCommittedAnyMore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.AsOwner(t, b.pool, "CREATE TABLE things (n int); INSERT INTO things VALUES (0)")
	inTx, queued := make(chan struct{}), make(chan struct{})
	e := b.running(preemptible(ops.Step{Name: "first", Tx: func(ctx context.Context, tx pgx.Tx, _ *ops.Run) error {
		close(inTx)
		<-queued
		_, err := tx.Exec(ctx, "UPDATE things SET n = n + 1") // waits for the lock of those who queue, as on a tenant's row
		return err
	}}), next(do("only", nothing)))
	live := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, inTx)
	var op ops.Operation
	require.NoError(t, postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		if _, err := tx.Exec(t.Context(), "UPDATE things SET n = n + 10"); err != nil {
			return err
		}
		close(queued)
		op, err = e.EnqueueNextTx(t.Context(), tx, "test.next", "tenant/1", nil)
		return err
	}))
	b.reaches(e, live, ops.Abandoned)
	b.reaches(e, op.ID, ops.Done)
	var n int
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT n FROM things").Scan(&n))
	require.Equal(t, 10, n)
}

func TestPreempt_OneThatFailsIsNotHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	w := preemptible(do("first", func(_ context.Context, r *ops.Run) error {
		return errors.Join(bl.do(context.Background(), r), ops.Permanent(errBroken)) // doesn't heed its context
	}))
	w.Held = func(context.Context, pgx.Tx, *ops.Run, error) error { return errors.New("must not be called") }
	e := b.running(w, next(do("only", nothing)))
	live := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, bl.entered)
	op := b.enqueueNext(e, "test.next", "tenant/1")
	close(bl.release)
	b.reaches(e, live, ops.Abandoned)
	b.reaches(e, op.ID, ops.Done)
}

func TestPreempt_AfterTheWorkerWasKilled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	survivor := b.engine(ops.Options{}, preemptible(
		do("first", func(context.Context, *ops.Run) error { panic("must not be called again") }),
		do("second", func(context.Context, *ops.Run) error { panic("must not be called again") }),
	), next(do("only", nothing)))
	live := b.enqueue(survivor, "test.work", "tenant/1", nil)

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(cmd.Environ(), victimEnv+"="+b.pool.Config().ConnString())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(out, make([]byte, 18))
		said <- err
	}()
	require.NoError(t, receive(t, said)) // it is in the second step, which doesn't end
	op := b.enqueueNext(survivor, "test.next", "tenant/1")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())

	b.start(survivor)
	b.reaches(survivor, live, ops.Abandoned)
	b.reaches(survivor, op.ID, ops.Done)
}

func TestHooks_TellOfHeldOperations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var told trace
	hook := func(what string) func(context.Context, pgx.Tx, ops.Operation) error {
		return func(ctx context.Context, tx pgx.Tx, o ops.Operation) error {
			var state string
			err := tx.QueryRow(ctx, "SELECT state FROM operations WHERE id = $1", o.ID).Scan(&state)
			told.add(what + " " + o.Subject + " " + string(o.State) + " " + state)
			return err
		}
	}
	b.deps = ops.Deps{OnHeld: hook("held"), OnReleased: hook("released")}
	e := b.running(workflow(do("first", func(context.Context, *ops.Run) error { return ops.Permanent(errBroken) })), next(do("only", nothing)))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	b.reaches(e, id, ops.Held)
	require.NoError(t, e.Retry(t.Context(), id))
	require.Eventually(t, func() bool { return len(told.all()) == 3 }, 10*time.Second, 5*time.Millisecond)
	b.reaches(e, id, ops.Held)
	b.enqueueNext(e, "test.next", "tenant/1")
	require.Equal(t, []string{
		"held tenant/1 held held", "released tenant/1 running running", "held tenant/1 held held", "released tenant/1 abandoned abandoned",
	}, told.all())
}

func TestWait(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	e := b.running(workflow(do("first", bl.do)), next(do("only", func(context.Context, *ops.Run) error { return ops.Permanent(errBroken) })))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, bl.entered)

	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	op, err := b.engine(ops.Options{}).Wait(short, id)
	require.NoError(t, err)
	require.Equal(t, ops.Running, op.State)

	close(bl.release)
	op, err = e.Wait(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, ops.Done, op.State)
	op, err = e.Wait(t.Context(), b.enqueueNext(e, "test.next", "tenant/1").ID)
	require.NoError(t, err)
	require.Equal(t, ops.Held, op.State)
	_, err = e.Wait(t.Context(), op.ID+1)
	require.ErrorIs(t, err, ops.ErrNotFound)
}

func TestEnqueueNext_RacesWithTheEndOfTheLiveOne(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]ops.Workflow{
		"to its end": workflow(do("first", nothing), ops.Step{Name: "second", Tx: func(context.Context, pgx.Tx, *ops.Run) error { return nil }}),
		"cut short":  preemptible(do("first", nothing), ops.Step{Name: "second", Tx: func(context.Context, pgx.Tx, *ops.Run) error { return nil }}),
		"failing": preemptible(do("first", func(_ context.Context, r *ops.Run) error {
			if r.Attempt < 3 {
				return errBroken
			}
			return ops.Permanent(errBroken)
		})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e := b.running(w, next(do("only", nothing)))
			other := b.running(w, next(do("only", nothing)))
			const rounds = 100
			live, waiting := make([]ops.ID, rounds), make([]ops.ID, rounds)
			for i := range rounds {
				subject := fmt.Sprintf("tenant/%d", i)
				live[i] = b.enqueue(e, "test.work", subject, nil)
				moment, cancel := context.WithTimeout(t.Context(), time.Duration(i%20)*250*time.Microsecond) // another one in each round
				_, _ = e.Wait(moment, live[i])
				cancel()
				waiting[i] = b.enqueueNext(other, "test.next", subject).ID
			}
			for i := range rounds {
				b.reaches(e, waiting[i], ops.Done)
				require.True(t, b.state(e, live[i]).Ended())
			}
		})
	}
}
