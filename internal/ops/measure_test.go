package ops_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
)

func TestMeasured_IsShownWhileTheStepGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	told, goOn := make(chan struct{}), make(chan struct{})
	e := b.running(workflow(do("copy", func(ctx context.Context, r *ops.Run) error {
		r.Measured(ctx, 10, 100)
		r.Measured(ctx, 20, 100) // too soon to be told
		close(told)
		<-goOn
		return nil
	})))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, told)
	op, err := e.Get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, &ops.Progress{DoneBytes: 10, TotalBytes: 100}, op.Progress)
	close(goOn)
	require.Nil(t, b.reaches(e, id, ops.Done).Progress)
}
