package pgtools

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
)

// What a tenant has made so that it never ends isn't waited for as for a server that is away.
func TestBounded(t *testing.T) {
	t.Parallel()
	outer, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(outer, time.Nanosecond, backup.ErrTooLong)
	defer stop()
	require.ErrorIs(t, bounded(outer, &pgconn.PgError{Code: "57P01"}), backup.ErrDatabaseUnreachable, "the server stops")
	<-ctx.Done()
	err := bounded(ctx, fmt.Errorf("describe it: %w", context.DeadlineExceeded))
	require.ErrorIs(t, err, backup.ErrTooLong)
	require.NotErrorIs(t, err, backup.ErrDatabaseUnreachable)

	cancel(errors.New("we stop"))
	require.NotErrorIs(t, bounded(outer, errors.New("interrupted")), backup.ErrTooLong)
}
