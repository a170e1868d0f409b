package ops_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres/pgtest"
)

var errFull = errs.New(errs.Unavailable, "host_full", "The host has no room at the moment.")

func TestOutcome_RetriesThenGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	e := b.running(workflow(do("first", func(_ context.Context, r *ops.Run) error {
		if found, err := r.Get("leftover", new(string)); found || err != nil {
			return ops.Permanent(errors.New("a failed attempt left data behind"))
		}
		if err := r.Set("leftover", "x"); err != nil {
			return err
		}
		switch calls.Add(1) {
		case 1:
			return errFull.WithCause(errBroken)
		case 2:
			panic("ouch")
		default:
			return nil
		}
	})))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	op := b.reaches(e, id, ops.Done)
	require.Equal(t, 3, op.Attempt)
	require.Empty(t, op.Error)
	list, err := e.Events(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "retry", list[1].Event)
	require.Equal(t, "The host has no room at the moment.", list[1].Message)
	require.Equal(t, "Something went wrong on our side; we are trying again.", list[3].Message)
}

func TestOutcome_AnOutageIsNeverHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	w := workflow(do("first", func(context.Context, *ops.Run) error {
		switch n := calls.Add(1); {
		case n <= 6:
			return ops.Outage(errFull.WithCause(errBroken))
		case n == 7:
			return ops.Permanent(errBroken)
		default:
			return nil
		}
	}))
	w.MaxAttempts = 3
	e := b.running(w)
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	op := b.reaches(e, id, ops.Held)
	require.Equal(t, 3, op.Attempt, "no attempt beyond the last is counted")
	require.EqualValues(t, 7, calls.Load(), "held for another reason")
	list, err := e.Events(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, errFull.Message, list[len(list)-2].Message)
	require.NoError(t, e.Retry(t.Context(), id))
	b.reaches(e, id, ops.Done)
}

func TestOutcome_TimesOutAStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := workflow(ops.Step{Name: "first", Timeout: 20 * time.Millisecond, Do: func(ctx context.Context, _ *ops.Run) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	w.MaxAttempts = 2
	e := b.running(w)
	op := b.reaches(e, b.enqueue(e, "test.work", "tenant/1", nil), ops.Held)
	require.Equal(t, 2, op.Attempt)
}

func TestOutcome_HeldAndTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.AsOwner(t, b.pool, "CREATE TABLE told (cause text)")
	var mended atomic.Bool
	w := workflow(do("first", func(context.Context, *ops.Run) error { return nil }), do("second", func(context.Context, *ops.Run) error {
		if mended.Load() {
			return nil
		}
		return errBroken
	}))
	w.MaxAttempts = 3
	w.Held = func(ctx context.Context, tx pgx.Tx, r *ops.Run, cause error) error {
		_, err := tx.Exec(ctx, "INSERT INTO told VALUES ($1)", r.Subject+": "+cause.Error())
		return err
	}
	e := b.running(w)
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	require.ErrorIs(t, e.Retry(t.Context(), id+1), ops.ErrNotFound)

	op := b.reaches(e, id, ops.Held)
	require.Equal(t, 3, op.Attempt)
	require.Equal(t, "Something went wrong on our side; we are looking into it.", op.Error)
	require.Contains(t, op.ErrorDetail, "it broke")
	require.Nil(t, op.FinishedAt)
	var told string
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT cause FROM told").Scan(&told))
	require.Equal(t, "tenant/1: second: it broke", told)
	_, held, _, err := e.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, held)

	mended.Store(true)
	require.NoError(t, e.Retry(t.Context(), id))
	op = b.reaches(e, id, ops.Done)
	require.Equal(t, 1, op.Attempt)
	require.Equal(t, 1, op.StepIndex)
	require.ErrorIs(t, e.Retry(t.Context(), id), ops.ErrNotHeld)
	require.Contains(t, b.events(e, id), "second:resumed")
}

func TestOutcome_HeldHookThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	w := workflow(do("first", func(context.Context, *ops.Run) error { return ops.Permanent(errFull) }))
	w.Held = func(context.Context, pgx.Tx, *ops.Run, error) error {
		if calls.Add(1) < 3 {
			return errBroken
		}
		return nil
	}
	e := b.running(w)
	op := b.reaches(e, b.enqueue(e, "test.work", "tenant/1", nil), ops.Held)
	require.Equal(t, 1, op.Attempt)
	require.Equal(t, int32(3), calls.Load())
	require.Equal(t, "The host has no room at the moment.", op.Error)
}

func TestOutcome_PermanentIsHeldAtOnce(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]ops.Step{
		"in Do": do("first", func(context.Context, *ops.Run) error { return ops.Permanent(errFull.WithCause(errBroken)) }),
		"in Tx": {Name: "first", Tx: func(context.Context, pgx.Tx, *ops.Run) error { return ops.Permanent(errFull) }},
		"misuse": do("first", func(_ context.Context, r *ops.Run) error {
			r.Follow("test.other", nil)
			return nil
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var tr trace
			e := b.running(workflow(step, tr.step("second")))
			op := b.reaches(e, b.enqueue(e, "test.work", "tenant/1", nil), ops.Held)
			require.Equal(t, 1, op.Attempt)
			require.Empty(t, tr.all())
		})
	}
}

func TestOutcome_UnwindsLastFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var tr trace
	var failures atomic.Int32
	third := tr.step("third")
	third.Do = func(context.Context, *ops.Run) error { return ops.Unwind(errFull) }
	first := tr.step("first")
	first.Undo = func(context.Context, *ops.Run) error {
		if failures.Add(1) == 1 {
			return errBroken
		}
		tr.add("undo first")
		return nil
	}
	e := b.running(workflow(first, do("nothing to undo", nil), tr.step("second"), third, tr.step("never")))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	b.reaches(e, id, ops.Abandoned)
	require.Equal(t, []string{"do first", "do second", "undo third", "undo second", "undo first"}, tr.all())
	require.Contains(t, b.events(e, id), "third:unwinding")
	require.Contains(t, b.events(e, id), "first:undone")
}

func TestOutcome_HeldWhileUnwindingGoesOnUnwinding(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mended atomic.Bool
	var tr trace
	second := tr.step("second")
	second.Do = func(context.Context, *ops.Run) error { return ops.Unwind(errBroken) }
	second.Undo = func(context.Context, *ops.Run) error {
		if !mended.Load() {
			return ops.Unwind(errBroken) // turning round while going back is only a failure
		}
		return nil
	}
	w := workflow(tr.step("first"), second)
	w.MaxAttempts = 2
	e := b.running(w)
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	b.reaches(e, id, ops.Held)
	mended.Store(true)
	require.NoError(t, e.Retry(t.Context(), id))
	b.reaches(e, id, ops.Abandoned)
	require.Equal(t, []string{"do first", "undo first"}, tr.all())
}

func TestOutcome_SnoozeCostsNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := workflow(do("first", func(_ context.Context, r *ops.Run) error {
		var looks int
		if _, err := r.Get("looks", &looks); err != nil {
			return err
		}
		if looks == 5 {
			return nil
		}
		if err := r.Set("looks", looks+1); err != nil {
			return err
		}
		return ops.Snooze(time.Millisecond)
	}))
	w.MaxAttempts = 2
	e := b.running(w)
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	op := b.reaches(e, id, ops.Done)
	require.Equal(t, 1, op.Attempt)
	require.Equal(t, []string{"first:started", "first:snoozed", "first:finished", "first:done"}, b.events(e, id), "it is told once")
}

func TestOutcome_ALongSnoozeIsWokenWithoutALeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	e := b.running(workflow(do("first", func(context.Context, *ops.Run) error {
		if calls.Add(1) == 1 {
			return ops.Snooze(time.Hour)
		}
		return nil
	})))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	require.Eventually(t, func() bool {
		tag, err := b.pool.Exec(t.Context(), "UPDATE river_job SET scheduled_at = now() WHERE state = 'scheduled'")
		return err == nil && tag.RowsAffected() == 1
	}, 5*time.Second, 5*time.Millisecond)
	b.reaches(e, id, ops.Done)
}

func TestOutcome_Follow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var tr trace
	last := ops.Step{Name: "last", Tx: func(_ context.Context, _ pgx.Tx, r *ops.Run) error {
		r.Follow("test.next", map[string]int{"n": 7})
		return nil
	}}
	next := ops.Workflow{Kind: "test.next", Steps: []ops.Step{tr.step("next")}}
	e := b.running(workflow(tr.step("first"), last), next)
	b.reaches(e, b.enqueue(e, "test.work", "tenant/1", nil), ops.Done)
	op, err := e.Latest(t.Context(), "tenant/1")
	require.NoError(t, err)
	require.Equal(t, "test.next", op.Kind)
	b.reaches(e, op.ID, ops.Done)
}

func TestFencing_TheOldHolderCannotWrite(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.AsOwner(t, b.pool, "CREATE TABLE things (n int)")
	for name, w := range map[string]func(context.Context, pgx.Tx, *ops.Run) error{
		"without Tx": nil,
		"with Tx": func(ctx context.Context, tx pgx.Tx, _ *ops.Run) error {
			_, err := tx.Exec(ctx, "INSERT INTO things VALUES (1)")
			return err
		},
	} {
		bl := newBlocker()
		var tr trace
		kind := ops.Workflow{Kind: "test.work", Steps: []ops.Step{{Name: "first", Do: bl.do, Tx: w}, tr.step("second")}}
		e := b.running(kind)
		id := b.enqueue(e, "test.work", "tenant/"+name, nil)
		receive(t, bl.entered)
		_, err := b.pool.Exec(t.Context(), "UPDATE operations SET token = token + 1, error = 'mine' WHERE id = $1", id)
		require.NoError(t, err)
		close(bl.release)
		b.reaches(e, id, ops.Done) // once the old job is gone the sweep finds it without one
		require.Equal(t, int32(2), bl.calls.Load(), "what the old holder did doesn't count")
		b.stop(e)
	}
	var rows int
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestFencing_ANoteFindsOutAndInterrupts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	interrupted := make(chan struct{}, 10)
	entered := make(chan struct{}, 10)
	e := b.running(workflow(do("first", func(ctx context.Context, r *ops.Run) error {
		if r.Attempt > 1 {
			return nil
		}
		entered <- struct{}{}
		for ctx.Err() == nil {
			r.Note(ctx, "Still at it")
			select {
			case <-ctx.Done():
			case <-time.After(10 * time.Millisecond):
			}
		}
		interrupted <- struct{}{}
		return ctx.Err()
	})))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, entered)
	_, err := b.pool.Exec(t.Context(), "UPDATE operations SET token = token + 1 WHERE id = $1", id)
	require.NoError(t, err)
	receive(t, interrupted)
	b.reaches(e, id, ops.Done)
}

func TestAbandon(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	e := b.running(workflow(do("first", bl.do), do("second", func(context.Context, *ops.Run) error { return nil })))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, bl.entered)

	require.NoError(t, e.Abandon(t.Context(), id, "the customer \x00changed their mind"))
	require.Eventually(t, func() bool { return bl.parallel.Load() == 0 }, 5*time.Second, 5*time.Millisecond, "the step is told")
	op, err := e.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, ops.Abandoned, op.State)
	require.Contains(t, op.ErrorDetail, "changed their mind")
	require.ErrorIs(t, e.Abandon(t.Context(), id, ""), ops.ErrFinished)
	require.ErrorIs(t, e.Abandon(t.Context(), id+1, ""), ops.ErrNotFound)

	close(bl.release)
	b.reaches(e, b.enqueue(e, "test.work", "tenant/1", nil), ops.Done) // the subject is free again
}
