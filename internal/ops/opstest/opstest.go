// Package opstest proves that a workflow survives what operations have to survive: each step done twice, a failure at each step,
// and a crash after each step before its checkpoint. It runs the workflow on real engines and a real database; the outside
// world is whatever doubles, or real things, the workflow was built with.
package opstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// Limit is how long an operation may take in a test.
const Limit = 60 * time.Second

// errInjected is what a step fails with in FailEach.
var errInjected = errors.New("a failure injected by the test")

// Repeat does every step's Do twice in a row, and wants the operation done. build is called once, and check at the end.
func Repeat(t *testing.T, pool *pgxpool.Pool, build func(t *testing.T) ops.Workflow, input any, subject string, check func(t *testing.T)) {
	t.Helper()
	w := build(t)
	for i := range w.Steps {
		wrap(&w, i, func(ctx context.Context, r *ops.Run, do doFunc) error {
			if err := do(ctx, r); err != nil {
				return err
			}
			return do(ctx, r)
		})
	}
	finish(t, Start(t, pool, w), pool, w.Kind, input, subject)
	check(t)
}

// FailEach runs the workflow twice per step: once that step fails before it did anything, and once after it did all, each time in
// its first attempt. It wants the operation to be done nevertheless. The runs are subtests, one after the other, on the same subject;
// build is called for each and makes the world, and rows of the subject, as they are before the operation.
func FailEach(t *testing.T, pool *pgxpool.Pool, build func(t *testing.T) ops.Workflow, input any, subject string, check func(t *testing.T)) {
	t.Helper()
	each(t, build, "fails before it is done", func(t *testing.T, w ops.Workflow, i int) { //nolint:thelper // it is the subtest
		wrap(&w, i, func(ctx context.Context, r *ops.Run, do doFunc) error {
			if r.Attempt == 1 {
				return errInjected
			}
			return do(ctx, r)
		})
		finish(t, Start(t, pool, w), pool, w.Kind, input, subject)
		check(t)
	})
	each(t, build, "fails after it is done", func(t *testing.T, w ops.Workflow, i int) { //nolint:thelper // it is the subtest
		wrap(&w, i, func(ctx context.Context, r *ops.Run, do doFunc) error {
			if err := do(ctx, r); err != nil || r.Attempt > 1 {
				return err
			}
			return errInjected
		})
		finish(t, Start(t, pool, w), pool, w.Kind, input, subject)
		check(t)
	})
}

// CrashEach runs the workflow once per step. When that step is done, and before its checkpoint, the worker loses every connection to
// the database at once, as if its process had been killed; another worker is started then and has to finish. Subtests and build
// are as in FailEach.
func CrashEach(t *testing.T, pool *pgxpool.Pool, build func(t *testing.T) ops.Workflow, input any, subject string, check func(t *testing.T)) {
	t.Helper()
	var burials sync.WaitGroup // the queue takes seconds to give up its leadership of a database that it can't reach
	t.Cleanup(burials.Wait)
	each(t, build, "crashes", func(t *testing.T, w ops.Workflow, i int) { //nolint:thelper // it is the subtest
		victims := severable(t, pool)
		died := make(chan struct{})
		fatal := w
		wrap(&fatal, i, func(ctx context.Context, r *ops.Run, do doFunc) error {
			if err := do(ctx, r); err != nil {
				return err
			}
			victims.cut()
			close(died)
			<-ctx.Done() // the lease notices; a killed process would do nothing more either
			return ctx.Err()
		})
		victim := engine(t, victims.pool, fatal)
		require.NoError(t, victim.Start(t.Context()))
		t.Cleanup(func() { burials.Go(func() { victims.bury(victim) }) })
		id := enqueue(t, victim, pool, w.Kind, input, subject)
		select {
		case <-died:
		case <-time.After(Limit):
			require.Fail(t, "the step to crash in was never done")
		}
		Wait(t, Start(t, pool, w), id, ops.Done)
		check(t)
	})
}

// Start returns an engine that works on the workflows, impatiently, until Stop or the test's end. Engines that know different
// workflows mustn't work on one database at the same time: each takes jobs that only the other can do, and lays them aside for a while.
func Start(t *testing.T, pool *pgxpool.Pool, workflows ...ops.Workflow) *ops.Engine {
	t.Helper()
	e := engine(t, pool, workflows...)
	require.NoError(t, e.Start(t.Context()))
	t.Cleanup(func() { Stop(t, e) })
	return e
}

// Stop ends what Start began, if it hasn't ended.
func Stop(t *testing.T, e *ops.Engine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, e.Stop(ctx))
}

// Wait waits until the operation is in the state, and returns it; a test whose operation doesn't get there in Limit fails with its log.
func Wait(t *testing.T, e *ops.Engine, id ops.ID, want ops.State) ops.Operation {
	t.Helper()
	deadline := time.Now().Add(Limit)
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		op, err := e.Get(t.Context(), id)
		require.NoError(t, err)
		if op.State == want {
			return op
		}
		ended := op.FinishedAt != nil || op.State == ops.Held
		if ended || time.Now().After(deadline) {
			list, err := e.Events(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, want, op.State, "at step %s: %s\n%v", op.Step, op.ErrorDetail, list)
		}
	}
}

type doFunc = func(ctx context.Context, r *ops.Run) error

// wrap replaces a step's Do in a copy of the steps. A step without Do gets one that does nothing, so that it can fail as well.
func wrap(w *ops.Workflow, i int, fn func(ctx context.Context, r *ops.Run, do doFunc) error) {
	w.Steps = append([]ops.Step(nil), w.Steps...)
	do := w.Steps[i].Do
	if do == nil {
		do = func(context.Context, *ops.Run) error { return nil }
	}
	w.Steps[i].Do = func(ctx context.Context, r *ops.Run) error { return fn(ctx, r, do) }
}

// each runs fn as a subtest per step, on a workflow of its own. How many steps there are shows with the first.
func each(t *testing.T, build func(t *testing.T) ops.Workflow, how string, fn func(t *testing.T, w ops.Workflow, i int)) {
	t.Helper()
	steps := 1
	for i := 0; i < steps; i++ {
		t.Run(fmt.Sprintf("step %d %s", i+1, how), func(t *testing.T) {
			w := build(t)
			steps = len(w.Steps)
			t.Logf("step %s", w.Steps[i].Name)
			fn(t, w, i)
		})
	}
}

func finish(t *testing.T, e *ops.Engine, pool *pgxpool.Pool, kind string, input any, subject string) {
	t.Helper()
	Wait(t, e, enqueue(t, e, pool, kind, input, subject), ops.Done)
}

func enqueue(t *testing.T, e *ops.Engine, pool *pgxpool.Pool, kind string, input any, subject string) ops.ID {
	t.Helper()
	var op ops.Operation
	require.NoError(t, postgres.InTx(t.Context(), pool, func(tx pgx.Tx) (err error) {
		op, err = e.EnqueueTx(t.Context(), tx, kind, subject, input)
		return err
	}))
	return op.ID
}

func engine(t *testing.T, pool *pgxpool.Pool, workflows ...ops.Workflow) *ops.Engine {
	t.Helper()
	e, err := ops.New(ops.Deps{Pool: pool, Log: slog.New(slog.DiscardHandler)}, ops.Options{
		RescueInterval: 50 * time.Millisecond, FetchCooldown: 5 * time.Millisecond, FetchPollInterval: 20 * time.Millisecond,
		Backoff: func(int) time.Duration { return time.Millisecond },
	})
	require.NoError(t, err)
	for _, w := range workflows {
		e.Register(w)
	}
	return e
}
