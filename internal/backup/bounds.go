package backup

import (
	"context"
	"errors"
	"time"

	"controlplane/internal/errs"
)

// ErrTooLong ends what others would wait for too long: a database may be made so that checks, indexes or views of it never end.
var ErrTooLong = errs.New(errs.Conflict, "backup_too_long", "It took far longer than so much data should, so it was given up; our staff have been told.")

// slowest is how many bytes a second are moved at least, by whichever of the store, the disk and the server is the slowest.
const slowest = 512 << 10

// stepMargin is for what a step does before and after what is bounded.
const stepMargin = 5 * time.Minute

// longest is how long something may take that moves about so many bytes: far longer than it does, on a host that is busy, and not as long as
// its step, most: whose end says nothing, and is followed by another attempt.
func (w *Worker) longest(bytes int64, most time.Duration) time.Duration {
	return min(w.opts.Patience+time.Duration(bytes/slowest)*time.Second, most-stepMargin)
}

// within has do end in time, or else fail with ErrTooLong.
func within(ctx context.Context, limit time.Duration, do func(ctx context.Context) error) error {
	ctx, stop := context.WithTimeoutCause(ctx, limit, ErrTooLong)
	defer stop()
	err := do(ctx)
	if err != nil && errors.Is(context.Cause(ctx), ErrTooLong) {
		return ErrTooLong.WithMessage("It took more than %v, far longer than so much data should, so it was given up; our staff have been told.",
			limit.Round(time.Second)).WithCause(err)
	}
	return err
}
