package ops

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
)

// History returns what was ever done to subject and what is going to be, the latest first, and how many operations that is in all.
// Errors: ErrPageBounds.
func (e *Engine) History(ctx context.Context, subject string, skip, limit int) ([]Operation, int, error) {
	if skip < 0 || skip > math.MaxInt32 || limit < 1 || limit > maxPage {
		return nil, 0, ErrPageBounds
	}
	var total int
	if err := e.pool.QueryRow(ctx, "SELECT count(*) FROM operations WHERE subject = $1", subject).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the operations on %s: %w", subject, err)
	}
	rows, err := e.pool.Query(ctx, "SELECT "+operationColumns+" FROM operations WHERE subject = $1 ORDER BY id DESC OFFSET $2 LIMIT $3",
		subject, skip, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("list the operations on %s: %w", subject, err)
	}
	list, err := pgx.CollectRows(rows, e.scan)
	if err != nil {
		return nil, 0, fmt.Errorf("list the operations on %s: %w", subject, err)
	}
	return list, total, nil
}
