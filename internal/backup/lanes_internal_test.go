package backup

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What people wait for doesn't wait for what is scheduled, nor for looks at what is stored.
func TestLanes(t *testing.T) {
	t.Parallel()
	l := newLanes(2)
	for range 2 {
		_, ok := l.enter(laneOf(Daily))
		require.True(t, ok)
	}
	_, ok := l.enter(laneOf(Hourly))
	require.False(t, ok, "two scheduled ones are under way")
	_, ok = l.enter(laneLooks)
	require.True(t, ok)
	_, ok = l.enter(laneLooks)
	require.False(t, ok, "one at a time")
	for _, k := range []Kind{Manual, Safety} {
		_, ok := l.enter(laneOf(k))
		require.True(t, ok)
	}
	_, ok = l.enter(laneOf(Final))
	require.False(t, ok)
	_, ok = l.enter(laneOf(Imported))
	require.True(t, ok, "strangers' dumps keep nobody from a last backup")
	l = newLanes(1)
	leave, ok := l.enter(laneOf(Final))
	require.True(t, ok)
	leave()
	_, ok = l.enter(laneOf(Final))
	require.True(t, ok, "one has left")
}
