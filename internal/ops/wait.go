package ops

import (
	"context"
	"time"
)

// Wait's looks become rarer with time: what takes a second isn't reported sooner by asking every few milliseconds.
const (
	waitFirst = 20 * time.Millisecond
	waitMost  = 200 * time.Millisecond
)

// Wait returns the operation once it has ended or is held, whichever process does it, or as it stands when ctx ends, without an
// error then. Errors: ErrNotFound.
func (e *Engine) Wait(ctx context.Context, id ID) (Operation, error) {
	var last Operation
	for pause := waitFirst; ; pause = min(pause*3/2, waitMost) {
		op, err := e.Get(ctx, id)
		switch {
		case err != nil && ctx.Err() != nil && last.ID != 0:
			return last, nil //nolint:nilerr // the time is up, and it was read before
		case err != nil:
			return Operation{}, err
		case op.State.Ended() || op.State == Held:
			return op, nil
		}
		last = op
		select {
		case <-ctx.Done():
			return last, nil
		case <-time.After(pause):
		}
	}
}
