package ops

import (
	"context"
	"fmt"
	"time"
)

// forgotAtOnce keeps one deletion short; whoever sweeps comes back for the rest.
const forgotAtOnce = 5000

// Forget removes operations of a kind, with their logs, that ended before a moment: the oldest few thousand. It returns how many. It is
// for kinds of which there are many and whose outcome is kept elsewhere; what was done to a tenant is never forgotten.
func (e *Engine) Forget(ctx context.Context, kind string, before time.Time) (int, error) {
	tag, err := e.pool.Exec(ctx, `
		DELETE FROM operations WHERE id IN (
			SELECT id FROM operations WHERE kind = $1 AND finished_at < $2 ORDER BY id LIMIT $3)`, kind, before, forgotAtOnce)
	if err != nil {
		return 0, fmt.Errorf("forget finished operations of kind %s: %w", kind, err)
	}
	return int(tag.RowsAffected()), nil
}

// ForgetSubjects removes the operations on these subjects that have ended, with their logs: the subjects themselves are gone.
func (e *Engine) ForgetSubjects(ctx context.Context, subjects []string) error {
	if _, err := e.pool.Exec(ctx, "DELETE FROM operations WHERE subject = ANY($1) AND finished_at IS NOT NULL", subjects); err != nil {
		return fmt.Errorf("forget the operations on what is gone: %w", err)
	}
	return nil
}

// logRetention is how long the step log of an operation is kept that ended well; what went wrong is kept for good, and so is every
// operation itself.
const logRetention = 90 * 24 * time.Hour

// ForgetLogs removes the step logs of operations that were done long ago: some thousand lines at a time. It returns how many.
func (e *Engine) ForgetLogs(ctx context.Context) (int, error) {
	tag, err := e.pool.Exec(ctx, `
		DELETE FROM operation_events WHERE id IN (
			SELECT v.id FROM operation_events v JOIN operations o ON o.id = v.operation_id
			WHERE o.state = 'done' AND o.finished_at < now() - make_interval(secs => $1) ORDER BY v.id LIMIT $2)`, logRetention.Seconds(), forgotAtOnce)
	if err != nil {
		return 0, fmt.Errorf("forget the logs of old operations: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
