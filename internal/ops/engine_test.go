package ops_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

func TestEngine_DoesTheStepsInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var tr trace
	var input struct{ Plan string }
	e := b.running(workflow(
		do("first", func(_ context.Context, r *ops.Run) error {
			if err := r.Input(&input); err != nil {
				return err
			}
			return r.Set("address", "10.0.0.7")
		}),
		tr.step("second"),
		ops.Step{Name: "third", Tx: func(_ context.Context, _ pgx.Tx, r *ops.Run) error {
			var address string
			found, err := r.Get("address", &address)
			require.True(t, found)
			require.Equal(t, "10.0.0.7", address)
			tr.add("tx " + r.Step)
			return err
		}},
	))
	id := b.enqueue(e, "test.work", "tenant/1", map[string]string{"plan": "basic"})

	op := b.reaches(e, id, ops.Done)
	require.Equal(t, "basic", input.Plan)
	require.Equal(t, []string{"do second", "tx third"}, tr.all())
	require.Equal(t, "third", op.Step)
	require.Equal(t, 2, op.StepIndex)
	require.Equal(t, 3, op.StepCount)
	require.NotNil(t, op.FinishedAt)
	require.Equal(t, []string{
		"first:started", "first:finished", "second:started", "second:finished", "third:started", "third:finished", "third:done",
	}, b.events(e, id))
	latest, err := e.Latest(t.Context(), "tenant/1")
	require.NoError(t, err)
	require.Equal(t, id, latest.ID)
}

func TestEngine_ShowsWhereItIsAndItsNotes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	e := b.running(workflow(do("first", func(context.Context, *ops.Run) error { return nil }), do("second", func(ctx context.Context, r *ops.Run) error {
		r.Note(ctx, "Waiting for \x00the "+string([]byte{0xff})+"database")
		return bl.do(ctx, r)
	})))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, bl.entered)

	op, err := e.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "second", op.Step)
	require.Equal(t, 1, op.Attempt)
	require.Equal(t, ops.Running, op.State)
	require.Eventually(t, func() bool { return len(b.events(e, id)) == 4 }, 5*time.Second, 10*time.Millisecond,
		"notes show while the step is being done")
	list, err := e.Events(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "Waiting for the database", list[3].Message)
	close(bl.release)
	b.reaches(e, id, ops.Done)
}

func TestEngine_TxRunsExactlyOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.AsOwner(t, b.pool, "CREATE TABLE things (n int)")
	var calls atomic.Int32
	e := b.running(workflow(ops.Step{Name: "only", Tx: func(ctx context.Context, tx pgx.Tx, _ *ops.Run) error {
		if _, err := tx.Exec(ctx, "INSERT INTO things VALUES (1)"); err != nil {
			return err
		}
		if calls.Add(1) < 3 {
			return errBroken
		}
		return nil
	}}))
	b.reaches(e, b.enqueue(e, "test.work", "tenant/1", nil), ops.Done)
	var rows int
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestEnqueueTx_OneLiveOperationPerSubject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.engine(ops.Options{})
	var made, refused atomic.Int32
	var wg sync.WaitGroup
	for range 30 {
		wg.Go(func() {
			err := postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
				_, err := e.EnqueueTx(t.Context(), tx, "test.work", "tenant/1", nil)
				if errs.KindOf(err) == errs.Conflict {
					refused.Add(1)
					_, err = tx.Exec(t.Context(), "SELECT 1") // the transaction must still be good
					return err
				}
				made.Add(1)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, int32(1), made.Load())
	require.Equal(t, int32(29), refused.Load())
	b.enqueue(e, "test.work", "tenant/2", nil)
	running, held, oldest, err := e.Stats(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, running)
	require.Zero(t, held)
	require.WithinDuration(t, time.Now(), oldest, time.Minute)
}

func TestEnqueueTx_RolledBackIsForgotten(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.engine(ops.Options{})
	var id ops.ID
	err := postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
		op, err := e.EnqueueTx(t.Context(), tx, "test.work", "tenant/1", nil)
		require.NoError(t, err)
		id = op.ID
		return errBroken
	})
	require.ErrorIs(t, err, errBroken)
	_, err = e.Get(t.Context(), id)
	require.ErrorIs(t, err, ops.ErrNotFound)
	_, err = e.Latest(t.Context(), "tenant/1")
	require.ErrorIs(t, err, ops.ErrNotFound)
}

func TestEnqueueTx_FromAProcessThatDoesNotKnowTheWorkflow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var tr trace
	b.running(workflow(tr.step("first")))
	api := b.engine(ops.Options{}) // never started
	id := b.enqueue(api, "test.work", "tenant/1", nil)
	op := b.reaches(api, id, ops.Done)
	require.Equal(t, "first", op.Step)
	require.Zero(t, op.StepCount)
}

func TestEngine_ALaterStepFollowsWithinMilliseconds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const steps = 40
	var list []ops.Step
	for i := range steps {
		list = append(list, do(fmt.Sprintf("step-%d", i), func(context.Context, *ops.Run) error { return nil }))
	}
	e := b.running(workflow(list...))
	start := time.Now()
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	b.reaches(e, id, ops.Done)
	var took time.Duration
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT finished_at - created_at FROM operations").Scan(&took))
	t.Logf("%d steps in %s, %s each, seen after %s", steps, took, took/steps, time.Since(start))
}

func TestRegister_RefusesWhatCannotBeTold(t *testing.T) {
	t.Parallel()
	step := do("a", nil)
	for name, w := range map[string]ops.Workflow{
		"no kind":       {Steps: []ops.Step{step}},
		"no steps":      {Kind: "x"},
		"unnamed step":  {Kind: "x", Steps: []ops.Step{{}}},
		"equal steps":   {Kind: "x", Steps: []ops.Step{step, step}},
		"twice a kind":  {Kind: "taken", Steps: []ops.Step{step}},
		"unnamed later": {Kind: "x", Steps: []ops.Step{step, {}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t).engine(ops.Options{}, ops.Workflow{Kind: "taken", Steps: []ops.Step{step}})
			require.Panics(t, func() { e.Register(w) })
		})
	}
}

func TestRun_BadData(t *testing.T) {
	t.Parallel()
	var r ops.Run
	require.Error(t, r.Set("f", func() {}))
	require.NoError(t, r.Set("n", "text"))
	var n int
	found, err := r.Get("n", &n)
	require.True(t, found)
	require.Error(t, err)
	found, err = r.Get("absent", &n)
	require.False(t, found)
	require.NoError(t, err)
	require.NoError(t, r.Input(&n), "no input leaves the value alone")
	r.Note(t.Context(), "is dropped outside of an engine")
}

func TestEnqueueTx_BadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.engine(ops.Options{})
	for name, input := range map[string]any{"not JSON": make(chan int), "a NUL": "\x00", "broken JSON": json.RawMessage("{")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
				_, err := e.EnqueueTx(t.Context(), tx, "test.work", "tenant/"+strings.ReplaceAll(name, " ", ""), input)
				return err
			})
			require.Error(t, err)
		})
	}
}

func TestEngine_StopWaitsForTheStepAndNoLonger(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	var seconds atomic.Int32
	w := workflow(do("first", bl.do), do("second", func(context.Context, *ops.Run) error { seconds.Add(1); return nil }))
	one := b.engine(ops.Options{}, w)
	require.NoError(t, one.Start(t.Context()))
	require.Error(t, one.Start(t.Context()), "it runs already")
	id := b.enqueue(one, "test.work", "tenant/1", nil)
	receive(t, bl.entered)

	stopped := make(chan error, 1)
	go func() { stopped <- one.Stop(context.WithoutCancel(t.Context())) }()
	select {
	case err := <-stopped:
		require.Fail(t, "it didn't wait", err)
	case <-time.After(300 * time.Millisecond):
	}
	close(bl.release)
	require.NoError(t, receive(t, stopped))
	op, err := one.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, "second", op.Step, "the checkpoint was written")
	require.Zero(t, seconds.Load(), "no further step was begun")
	require.NoError(t, one.Stop(t.Context()), "a second stop is harmless")

	two := b.running(w)
	op = b.reaches(two, id, ops.Done)
	require.Equal(t, 1, op.Attempt)
	require.Equal(t, int32(1), bl.calls.Load())
}

func TestEngine_StopThatIsInAHurryInterruptsTheStep(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	w := workflow(do("first", bl.do))
	one := b.engine(ops.Options{}, w)
	require.NoError(t, one.Start(t.Context()))
	id := b.enqueue(one, "test.work", "tenant/1", nil)
	receive(t, bl.entered)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, one.Stop(ctx), context.DeadlineExceeded)

	close(bl.release)
	op := b.reaches(b.running(w), id, ops.Done)
	require.Equal(t, 1, op.Attempt, "the interrupted attempt isn't counted")
}

func TestEngine_WorksInParallelAndShares(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	w := workflow(do("first", bl.do))
	one := b.start(b.engine(ops.Options{Workers: 3}, w))
	b.start(b.engine(ops.Options{Workers: 3}, w))
	var ids []ops.ID
	for i := range 8 {
		ids = append(ids, b.enqueue(one, "test.work", fmt.Sprintf("tenant/%d", i), nil))
	}
	for range 6 {
		receive(t, bl.entered)
	}
	require.Equal(t, int32(6), bl.parallel.Load())
	close(bl.release)
	for _, id := range ids {
		b.reaches(one, id, ops.Done)
	}
	require.Equal(t, int32(8), bl.calls.Load(), "no step was done twice")
}

func TestEngine_LeavesWorkThatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(workflow(do("first", func(context.Context, *ops.Run) error { return nil })))
	unknown := b.enqueue(e, "test.other", "tenant/1", nil)
	var newer ops.ID
	require.NoError(t, b.pool.QueryRow(t.Context(), // a step of a newer release
		"INSERT INTO operations (kind, subject, state, step) VALUES ('test.work', 'tenant/2', 'running', 'unheard-of') RETURNING id").Scan(&newer))
	known := b.enqueue(e, "test.work", "tenant/3", nil)
	b.reaches(e, known, ops.Done)
	require.Eventually(t, func() bool {
		var waiting int
		err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM river_job WHERE state = 'scheduled'").Scan(&waiting)
		return err == nil && waiting == 2
	}, 10*time.Second, 10*time.Millisecond)
	for _, id := range []ops.ID{unknown, newer} {
		op, err := e.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, ops.Running, op.State)
		require.Zero(t, op.Attempt)
	}
}
