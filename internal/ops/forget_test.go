package ops_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
)

func TestForget(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(
		ops.Workflow{Kind: "test.work", Steps: []ops.Step{do("only", nil)}},
		ops.Workflow{Kind: "test.other", Steps: []ops.Step{do("only", nil)}},
	)
	done, other := b.enqueue(e, "test.work", "event/1", nil), b.enqueue(e, "test.other", "event/2", nil)
	waiting := b.enqueue(e, "test.unknown", "event/3", nil)
	b.reaches(e, done, ops.Done)
	b.reaches(e, other, ops.Done)

	n, err := e.Forget(t.Context(), "test.work", time.Now().Add(-time.Hour))
	require.NoError(t, err)
	require.Zero(t, n, "it has only just ended")
	for kind, want := range map[string]int{"test.work": 1, "test.unknown": 0} {
		n, err = e.Forget(t.Context(), kind, time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.Equal(t, want, n, kind)
	}
	_, err = e.Get(t.Context(), done)
	require.ErrorIs(t, err, ops.ErrNotFound)
	events, err := e.Events(t.Context(), done)
	require.NoError(t, err)
	require.Empty(t, events)
	for _, id := range []ops.ID{other, waiting} {
		_, err = e.Get(t.Context(), id)
		require.NoError(t, err)
	}
}
