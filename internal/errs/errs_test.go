package errs_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
)

func TestError_CopiesMatchTheirSentinel(t *testing.T) {
	t.Parallel()
	taken := errs.New(errs.Conflict, "name_taken", "That name is already taken.")
	cause := errors.New("duplicate key")
	err := fmt.Errorf("create: %w", taken.WithCause(cause))
	require.ErrorIs(t, err, taken)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, errs.New(errs.Conflict, "other", ""))
	require.Equal(t, errs.Conflict, errs.KindOf(err))
	require.Equal(t, time.Second, taken.WithRetryAfter(time.Second).RetryAfter)
	require.Zero(t, taken.RetryAfter, "the sentinel isn't changed")
}

func TestKindOf_OtherErrorsAreInternal(t *testing.T) {
	t.Parallel()
	require.Equal(t, errs.Internal, errs.KindOf(errors.New("x")))
	require.Equal(t, errs.Internal, errs.KindOf(nil))
}

func TestKind_EachHasAName(t *testing.T) {
	t.Parallel()
	for k := errs.Internal; k <= errs.Unavailable; k++ {
		require.NotEmpty(t, k.String())
	}
}
