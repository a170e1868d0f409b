package ops

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDue_TellsTheEndByThePace(t *testing.T) {
	t.Parallel()
	r, at := &Run{}, time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	p, ok := r.due(at, 100, 1100)
	require.True(t, ok)
	require.Equal(t, Progress{DoneBytes: 100, TotalBytes: 1100}, p, "nobody knows the pace yet")
	_, ok = r.due(at.Add(time.Second), 150, 1100)
	require.False(t, ok, "too soon")
	p, ok = r.due(at.Add(10*time.Second), 600, 1100)
	require.True(t, ok)
	require.EqualValues(t, 10, *p.SecondsLeft)
	p, ok = r.due(at.Add(20*time.Second), 1200, 1100)
	require.True(t, ok)
	require.EqualValues(t, 1200, p.TotalBytes, "there was more than was expected")
	require.Zero(t, *p.SecondsLeft)
}
