package ops_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

// BenchmarkEngine_EnqueueToFirstStep is the delay before the work begins, commit of the enqueueing transaction included.
func BenchmarkEngine_EnqueueToFirstStep(b *testing.B) {
	begun := make(chan struct{}, 1)
	enqueue := benchmark(b, do("first", func(context.Context, *ops.Run) error { begun <- struct{}{}; return nil }))
	for i := 0; b.Loop(); i++ {
		enqueue(i)
		<-begun
	}
}

// BenchmarkEngine_Step is what a step costs beside its own work.
func BenchmarkEngine_Step(b *testing.B) {
	const steps = 50
	done := make(chan struct{}, 1)
	list := make([]ops.Step, 0, steps)
	for i := range steps {
		list = append(list, do(fmt.Sprintf("step-%d", i), func(context.Context, *ops.Run) error {
			if i == steps-1 {
				done <- struct{}{}
			}
			return nil
		}))
	}
	enqueue := benchmark(b, list...)
	for i := 0; b.Loop(); i++ {
		enqueue(i)
		<-done
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*steps), "µs/step")
}

// benchmark starts an engine with the default options and returns a function that enqueues an operation on subject n.
func benchmark(b *testing.B, steps ...ops.Step) func(n int) {
	b.Helper()
	pool := pgtest.New(b)
	e, err := ops.New(ops.Deps{Pool: pool, Log: slog.New(slog.DiscardHandler)}, ops.Options{})
	require.NoError(b, err)
	e.Register(workflow(steps...))
	require.NoError(b, e.Start(b.Context()))
	b.Cleanup(func() { _ = e.Stop(context.Background()) })
	return func(n int) {
		require.NoError(b, postgres.InTx(b.Context(), pool, func(tx pgx.Tx) error {
			_, err := e.EnqueueTx(b.Context(), tx, "test.work", fmt.Sprintf("tenant/%d", n), nil)
			return err
		}))
	}
}
