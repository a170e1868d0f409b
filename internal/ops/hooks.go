package ops

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// hooks tell others of operations that need a person, and of those that no longer do.
type hooks struct {
	held, released func(ctx context.Context, tx pgx.Tx, o Operation) error
}

// afterHold ends a held operation for the one that waits for it, or else calls for a person.
func (e *Engine) afterHold(ctx context.Context, tx pgx.Tx, p *progress) error {
	next, kind, err := queued(ctx, tx, p.subject)
	if err != nil {
		return err
	}
	if next == 0 {
		return e.tell(ctx, tx, e.hooks.held, p.id)
	}
	if _, err := tx.Exec(ctx, `
		WITH ended AS (
			UPDATE operations SET state = 'abandoned', token = token + 1, updated_at = now(), finished_at = now(),
				error_detail = 'abandoned: ' || $2 || ': ' || error_detail
			WHERE id = $1 RETURNING id, step, attempt
		)
		INSERT INTO operation_events (operation_id, step, event, attempt, message) SELECT id, step, 'abandoned', attempt, $3 FROM ended`,
		p.id, supersededBy(kind), textSuperseded); err != nil {
		return fmt.Errorf("end held operation %d: %w", p.id, err)
	}
	return e.promoteTx(ctx, tx, p.subject)
}

// released tells that a held operation isn't any more.
func (e *Engine) released(ctx context.Context, tx pgx.Tx, id ID) error {
	return e.tell(ctx, tx, e.hooks.released, id)
}

func (e *Engine) tell(ctx context.Context, tx pgx.Tx, hook func(context.Context, pgx.Tx, Operation) error, id ID) error {
	if hook == nil {
		return nil
	}
	rows, err := tx.Query(ctx, "SELECT "+operationColumns+" FROM operations WHERE id = $1", id)
	if err != nil {
		return fmt.Errorf("read operation %d: %w", id, err)
	}
	op, err := e.collectOne(rows)
	if err != nil {
		return fmt.Errorf("read operation %d: %w", id, err)
	}
	if err := hook(ctx, tx, op); err != nil {
		return fmt.Errorf("tell of operation %d: %w", id, err)
	}
	return nil
}
