package ops

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

const operationColumns = `id, kind, subject, state, step, step_index, attempt, coalesce(error, ''), coalesce(error_detail, ''),
	progress, step_started_at, created_at, updated_at, finished_at`

// Get returns an operation, or ErrNotFound.
func (e *Engine) Get(ctx context.Context, id ID) (Operation, error) {
	rows, err := e.pool.Query(ctx, "SELECT "+operationColumns+" FROM operations WHERE id = $1", id)
	if err != nil {
		return Operation{}, fmt.Errorf("read operation %d: %w", id, err)
	}
	op, err := e.collectOne(rows)
	if postgres.NoRows(err) {
		return Operation{}, ErrNotFound
	}
	if err != nil {
		return Operation{}, fmt.Errorf("read operation %d: %w", id, err)
	}
	return op, nil
}

// Latest returns the operation on subject that was enqueued last, finished or not, or ErrNotFound.
func (e *Engine) Latest(ctx context.Context, subject string) (Operation, error) {
	rows, err := e.pool.Query(ctx, "SELECT "+operationColumns+" FROM operations WHERE subject = $1 ORDER BY id DESC LIMIT 1", subject)
	if err != nil {
		return Operation{}, fmt.Errorf("read the latest operation on %s: %w", subject, err)
	}
	op, err := e.collectOne(rows)
	if postgres.NoRows(err) {
		return Operation{}, ErrNotFound
	}
	if err != nil {
		return Operation{}, fmt.Errorf("read the latest operation on %s: %w", subject, err)
	}
	return op, nil
}

// Events returns an operation's log, oldest first. An operation that doesn't exist has none.
func (e *Engine) Events(ctx context.Context, id ID) ([]Event, error) {
	rows, err := e.pool.Query(ctx, "SELECT at, step, event, attempt, message FROM operation_events WHERE operation_id = $1 ORDER BY id", id)
	if err != nil {
		return nil, fmt.Errorf("read the log of operation %d: %w", id, err)
	}
	events, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Event])
	if err != nil {
		return nil, fmt.Errorf("read the log of operation %d: %w", id, err)
	}
	return events, nil
}

// Stats counts the unfinished operations, queued ones too and held ones apart, and tells when the oldest of those that aren't held was enqueued: zero
// when there is none.
func (e *Engine) Stats(ctx context.Context) (running, held int, oldest time.Time, err error) {
	var since *time.Time
	err = e.pool.QueryRow(ctx, `
		SELECT count(*) FILTER (WHERE state <> 'held'), count(*) FILTER (WHERE state = 'held'), min(created_at) FILTER (WHERE state <> 'held')
		FROM operations WHERE finished_at IS NULL`).Scan(&running, &held, &since)
	if err != nil {
		return 0, 0, time.Time{}, fmt.Errorf("count operations: %w", err)
	}
	if since != nil {
		oldest = *since
	}
	return running, held, oldest, nil
}

// collectOne reads one row of operationColumns, or returns pgx.ErrNoRows.
func (e *Engine) collectOne(rows pgx.Rows) (Operation, error) {
	return pgx.CollectExactlyOneRow(rows, e.scan)
}

func (e *Engine) scan(row pgx.CollectableRow) (Operation, error) {
	var o Operation
	err := row.Scan(&o.ID, &o.Kind, &o.Subject, &o.State, &o.Step, &o.StepIndex, &o.Attempt, &o.Error, &o.ErrorDetail,
		&o.Progress, &o.StepStartedAt, &o.CreatedAt, &o.UpdatedAt, &o.FinishedAt)
	if w, ok := e.workflows[o.Kind]; ok {
		o.StepCount = len(w.Steps)
		if i := w.index(o.Step); i >= 0 {
			o.StepIndex = i
		}
	}
	return o, err
}

// index returns the position of the step with this name, or -1.
func (w *Workflow) index(step string) int {
	return slices.IndexFunc(w.Steps, func(s Step) bool { return s.Name == step })
}
