package ops_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
)

func TestEvery_OneReplicaAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var first, second, both, most atomic.Int32
	count := func(n *atomic.Int32) func(context.Context) error {
		return func(context.Context) error {
			most.Store(max(most.Load(), both.Add(1)))
			defer both.Add(-1)
			if n.Add(1) == 2 {
				panic("a failed call doesn't end the task")
			}
			return errBroken
		}
	}
	one, two := b.engine(ops.Options{}), b.engine(ops.Options{})
	one.Every("sweep", 10*time.Millisecond, count(&first))
	two.Every("sweep", 10*time.Millisecond, count(&second))
	require.Panics(t, func() { one.Every("sweep", time.Second, nil) })
	require.NoError(t, one.Start(t.Context()))
	require.Eventually(t, func() bool { return first.Load() > 3 }, 5*time.Second, time.Millisecond)
	b.start(two)
	seen := first.Load()
	require.Eventually(t, func() bool { return first.Load() > seen+10 }, 5*time.Second, time.Millisecond)
	require.Zero(t, second.Load(), "the other one leads")

	b.stop(one)
	require.Eventually(t, func() bool { return second.Load() > 3 }, 5*time.Second, time.Millisecond, "the lead is taken over")
	require.Equal(t, int32(1), most.Load())
}

func TestEvery_StopsWithTheLock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	began, ended := make(chan struct{}, 10), make(chan struct{}, 10)
	e := b.engine(ops.Options{})
	e.Every("long", time.Hour, func(ctx context.Context) error {
		began <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return ctx.Err()
	})
	b.start(e)
	receive(t, began)
	b.terminate("application_name LIKE '% lease'")
	receive(t, ended)
	receive(t, began) // as the leader once more
}
