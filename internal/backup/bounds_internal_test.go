package backup

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What takes too long ends by its bound, which says so and isn't tried again, and not by its step's.
func TestWorker_Longest(t *testing.T) {
	t.Parallel()
	w := &Worker{opts: WorkerOptions{Patience: 20 * time.Minute}}
	require.Equal(t, 20*time.Minute, w.longest(0, copyTimeout))
	require.Equal(t, 20*time.Minute+2048*time.Second, w.longest(1<<30, copyTimeout))
	require.Less(t, w.longest(1<<50, copyTimeout), copyTimeout)
	require.Less(t, 2*w.longest(1<<50, copyTimeout/2), copyTimeout)
}
