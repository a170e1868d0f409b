package ops

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// Unfinished returns what isn't finished on subject, in the order in which it was enqueued: at most the live operation and the one that
// is queued behind it. It reads through q, for those who decide by it in a transaction.
func (e *Engine) Unfinished(ctx context.Context, q postgres.Querier, subject string) ([]Operation, error) {
	rows, err := q.Query(ctx, "SELECT "+operationColumns+" FROM operations WHERE subject = $1 AND finished_at IS NULL ORDER BY id", subject)
	if err != nil {
		return nil, fmt.Errorf("read the unfinished operations on %s: %w", subject, err)
	}
	list, err := pgx.CollectRows(rows, e.scan)
	if err != nil {
		return nil, fmt.Errorf("read the unfinished operations on %s: %w", subject, err)
	}
	return list, nil
}
