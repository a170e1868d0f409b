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
