package backup

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
)

// All of it at once, as many as there are.
func TestPlaces(t *testing.T) {
	t.Parallel()
	require.Equal(t, 2+2+2+2+1+3, Places(2))
	require.Equal(t, 8, Places(1))
}

// What people wait for doesn't wait for what is scheduled, nor for looks at what is stored.
func TestLanes(t *testing.T) {
	t.Parallel()
	l, n := newLanes(2), accounts.ID(0)
	enter := func(which lane) (leave func(), ok bool) { // somebody else each time
		n++
		return l.enter(which, n)
	}
	for range 2 {
		_, ok := enter(laneOf(Daily))
		require.True(t, ok)
	}
	_, ok := enter(laneOf(Hourly))
	require.False(t, ok, "two scheduled ones are under way")
	_, ok = enter(laneLooks)
	require.True(t, ok)
	_, ok = enter(laneLooks)
	require.False(t, ok, "one at a time")
	for _, k := range []Kind{Manual, Safety} {
		_, ok := enter(laneOf(k))
		require.True(t, ok)
	}
	_, ok = enter(laneOf(Final))
	require.False(t, ok)
	_, ok = enter(laneOf(Imported))
	require.True(t, ok, "strangers' dumps keep nobody from a last backup")
	l = newLanes(1)
	leave, ok := enter(laneOf(Final))
	require.True(t, ok)
	leave()
	_, ok = enter(laneOf(Final))
	require.True(t, ok, "one has left")
}

// One account's work, which may be slow on purpose, leaves a place to others.
func TestLanes_AreShared(t *testing.T) {
	t.Parallel()
	const slow, other = accounts.ID(1), accounts.ID(2)
	l := newLanes(2)
	for _, which := range []lane{laneAsked, laneImports, laneRestores} {
		leave, ok := l.enter(which, slow)
		require.True(t, ok)
		_, ok = l.enter(which, slow)
		require.False(t, ok)
		_, ok = l.enter(which, other)
		require.True(t, ok)
		leave()
		_, ok = l.enter(which, slow)
		require.True(t, ok, "its own has ended")
	}
	for range 2 {
		_, ok := l.enter(laneScheduled, slow)
		require.True(t, ok, "these come in our order")
	}
}
