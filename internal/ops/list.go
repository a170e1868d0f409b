package ops

import (
	"context"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
)

// maxPage is how many operations one List returns at most.
const maxPage = 1000

// What List refuses.
var (
	ErrUnknownState = errs.InvalidField("state", "unknown", "state must be queued, running, unwinding, held, done or abandoned.")
	ErrPageBounds   = errs.InvalidField("limit", "out_of_range", "skip must be 0 or more, and limit from 1 to 1000.")
)

// ListFilter narrows a List.
type ListFilter struct {
	State State // "": all that aren't finished
	Skip  int
	Limit int // 1 to 1000
}

// List returns matching operations and how many there are: what isn't finished in the order in which it was enqueued, since the
// first has waited longest, and what is finished latest first. Errors: ErrUnknownState, ErrPageBounds.
func (e *Engine) List(ctx context.Context, f ListFilter) ([]Operation, int, error) {
	if f.Skip < 0 || f.Skip > math.MaxInt32 || f.Limit < 1 || f.Limit > maxPage {
		return nil, 0, ErrPageBounds
	}
	where, order, err := f.conditions()
	if err != nil {
		return nil, 0, err
	}
	var total int
	if err := e.pool.QueryRow(ctx, "SELECT count(*) FROM operations WHERE "+where, f.State).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the operations: %w", err)
	}
	rows, err := e.pool.Query(ctx, "SELECT "+operationColumns+" FROM operations WHERE "+where+order+" OFFSET $2 LIMIT $3", f.State, f.Skip, f.Limit)
	if err != nil {
		return nil, 0, fmt.Errorf("list the operations: %w", err)
	}
	list, err := pgx.CollectRows(rows, e.scan)
	if err != nil {
		return nil, 0, fmt.Errorf("list the operations: %w", err)
	}
	return list, total, nil
}

// conditions are spelt so that the partial index on unfinished operations fits.
func (f ListFilter) conditions() (where, order string, err error) {
	switch f.State {
	case "":
		return "finished_at IS NULL AND $1 = ''", " ORDER BY id", nil
	case Queued, Running, Unwinding, Held:
		return "finished_at IS NULL AND state = $1", " ORDER BY id", nil
	case Done, Abandoned:
		return "state = $1", " ORDER BY id DESC", nil
	}
	return "", "", ErrUnknownState
}
