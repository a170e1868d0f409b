package docker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

func TestRun_tailAndExitCode(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("builder", "print", "120", "3")
	res, err := b.RunContainer(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, 3, res.ExitCode)
	require.Len(t, res.Tail, 50)
	require.Equal(t, "line 71", res.Tail[0])
	require.Equal(t, "line 120", res.Tail[49])
	b.requireGone(t, c.Name)
}

func TestRun_resumes(t *testing.T) {
	t.Parallel()
	for name, milliseconds := range map[string]string{"still running": "1500", "ended meanwhile": "0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			c := b.container("builder", "print", "1", "5", milliseconds)
			require.NoError(t, b.EnsureContainer(t.Context(), c))
			require.NoError(t, b.StartContainer(t.Context(), c.Name))
			if milliseconds == "0" {
				within(t, 10*time.Second, "it ends", func() bool { return !b.inspect(t, c.Name).State.Running })
			}
			started := b.inspect(t, c.Name)
			done := make(chan provision.RunResult, 1)
			go func() {
				res, err := b.RunContainer(context.WithoutCancel(t.Context()), c)
				if err == nil {
					done <- res
				}
				close(done)
			}()
			if milliseconds != "0" {
				require.Equal(t, started.ID, b.inspect(t, c.Name).ID)
			}
			res := <-done
			require.Equal(t, provision.RunResult{ExitCode: 5, Tail: []string{"line 1"}}, res)
			b.requireGone(t, c.Name)
		})
	}
}

func TestRun_removedWhenCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("builder", "print", "1", "0", "60000")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for ctx.Err() == nil {
			if status, err := b.InspectContainer(ctx, c.Name); err == nil && status.Running {
				cancel()
			}
		}
	}()
	_, err := b.RunContainer(ctx, c)
	cancel()
	require.ErrorIs(t, err, context.Canceled)
	b.requireGone(t, c.Name)
}

func TestRun_staleIsReplaced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stale := b.container("builder", "print", "1", "9")
	require.NoError(t, b.EnsureContainer(t.Context(), stale))
	c := b.container("builder", "print", "1", "0")
	res, err := b.RunContainer(t.Context(), c)
	require.NoError(t, err)
	require.Zero(t, res.ExitCode)
}

func (b bundle) requireGone(t *testing.T, name string) {
	t.Helper()
	status, err := b.InspectContainer(t.Context(), name)
	require.NoError(t, err)
	require.False(t, status.Exists)
}
