package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestUntilChecked(t *testing.T) {
	t.Parallel()
	unsafe, calls := errors.New("the control role is a superuser"), 0
	err := untilChecked(t.Context(), time.Microsecond, func(context.Context) (bool, error) {
		calls++
		return calls == 3, unsafe
	})
	require.ErrorIs(t, err, unsafe, "a server that was down at the start is judged when it is back")
	require.Equal(t, 3, calls)

	ctx, stop := context.WithCancel(t.Context())
	require.NoError(t, untilChecked(ctx, time.Microsecond, func(context.Context) (bool, error) {
		stop()
		return false, nil
	}), "being stopped is no fault")
}
