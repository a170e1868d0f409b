package ops_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
)

func TestStepOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	e := b.running(ops.Workflow{Kind: "test.work", Steps: []ops.Step{do("first", nil), do("second", func(context.Context, *ops.Run) error {
		close(entered)
		<-leave
		return nil
	})}})
	id := b.enqueue(e, "test.work", "tenant/7", nil)
	<-entered
	step, err := ops.StepOf(t.Context(), b.pool, "tenant/7")
	require.NoError(t, err)
	require.Equal(t, "second", step)
	close(leave)
	b.reaches(e, id, ops.Done)
	for _, subject := range []string{"tenant/7", "tenant/8"} {
		step, err = ops.StepOf(t.Context(), b.pool, subject)
		require.NoError(t, err)
		require.Empty(t, step)
	}
}
