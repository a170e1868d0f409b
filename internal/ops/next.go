package ops

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// liveRow is the SQL condition for the operation that its subject is busy with; it is that of a unique index.
const liveRow = `finished_at IS NULL AND state <> 'queued'`

// EnqueueNextTx adds an operation to subject that takes the place of what is going on there. It begins at once when nothing is, or
// when that is held, which ends by it. Else it is Queued and begins in the transaction that ends the live one; whether that
// one runs to its end or is cut short is in its Workflow. Of two that are queued the later one stays. As with EnqueueTx the
// kind needn't be registered here. The caller has locked the subject's own row, as it does for EnqueueTx.
func (e *Engine) EnqueueNextTx(ctx context.Context, tx pgx.Tx, kind, subject string, input any) (Operation, error) {
	for {
		live, err := lockLive(ctx, tx, subject)
		if err != nil {
			return Operation{}, err
		}
		switch {
		case live == nil || live.state == Held:
			op, err := e.enqueueInstead(ctx, tx, live, kind, subject, input)
			if errors.Is(err, ErrLive) { // someone else was faster, so look again
				continue
			}
			return op, err
		default:
			return e.queueBehind(ctx, tx, live.id, kind, subject, input)
		}
	}
}

// liveOperation is what an operation that takes another's place needs to know of it.
type liveOperation struct {
	id    ID
	state State
}

// lockLive locks the subject's live operation, so that it can't end before what is to follow it is written. nil means there is none.
func lockLive(ctx context.Context, tx pgx.Tx, subject string) (*liveOperation, error) {
	var o liveOperation
	err := tx.QueryRow(ctx, "SELECT id, state FROM operations WHERE subject = $1 AND "+liveRow+" FOR UPDATE", subject).Scan(&o.id, &o.state)
	if postgres.NoRows(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("lock the live operation on %s: %w", subject, err)
	}
	return &o, nil
}

// enqueueInstead enqueues at once, and ends what was held.
func (e *Engine) enqueueInstead(ctx context.Context, tx pgx.Tx, held *liveOperation, kind, subject string, input any) (Operation, error) {
	if held != nil {
		if _, err := e.abandonTx(ctx, tx, held.id, supersededBy(kind), textSuperseded); err != nil {
			return Operation{}, err
		}
	}
	return e.EnqueueTx(ctx, tx, kind, subject, input)
}

// queueBehind writes the operation that waits, in the place of one that waited already, and has the live one looked at soon.
func (e *Engine) queueBehind(ctx context.Context, tx pgx.Tx, live ID, kind, subject string, input any) (Operation, error) {
	text, err := encodeInput(input)
	if err != nil {
		return Operation{}, err
	}
	var before ID
	err = tx.QueryRow(ctx, "SELECT id FROM operations WHERE subject = $1 AND state = 'queued' FOR UPDATE", subject).Scan(&before)
	if err == nil {
		_, err = e.abandonTx(ctx, tx, before, supersededBy(kind), textSuperseded)
	}
	if err != nil && !postgres.NoRows(err) {
		return Operation{}, fmt.Errorf("make room in the queue of %s: %w", subject, err)
	}
	rows, err := tx.Query(ctx, `
		WITH queued AS (
			INSERT INTO operations (kind, subject, state, input) VALUES ($1, $2, 'queued', $3) RETURNING *
		), logged AS (
			INSERT INTO operation_events (operation_id, step, event, attempt) SELECT id, '', 'queued', 0 FROM queued
		)
		SELECT `+operationColumns+` FROM queued`, kind, subject, text)
	if err != nil {
		return Operation{}, fmt.Errorf("queue %s of %s: %w", kind, subject, err)
	}
	op, err := e.collectOne(rows)
	if err != nil {
		return Operation{}, fmt.Errorf("queue %s of %s: %w", kind, subject, err)
	}
	// One that waits, snoozing or between two attempts, may be one to cut short.
	_, err = tx.Exec(ctx, `
		UPDATE river_job SET state = 'available', scheduled_at = now()
		WHERE queue = $1 AND state IN ('scheduled', 'retryable') AND (args->>'operation_id')::bigint = $2`, queue, live)
	if err != nil {
		return Operation{}, fmt.Errorf("wake operation %d: %w", live, err)
	}
	return op, nil
}

// textSuperseded is what an owner reads in the log of an operation whose place another took.
const textSuperseded = "A newer request took its place."

func supersededBy(kind string) string { return "superseded by " + kind }

// promoteTx begins the operation that is queued on subject, if there is one, now that the live one has ended in tx. Its lock on
// the ended one's row makes sure that whoever queues either was before, and is seen, or comes after and finds it ended.
func (e *Engine) promoteTx(ctx context.Context, tx pgx.Tx, subject string) error {
	var next job
	err := tx.QueryRow(ctx, `
		UPDATE operations SET state = 'running', step_started_at = now(), updated_at = now()
		WHERE subject = $1 AND state = 'queued'
			AND NOT EXISTS (SELECT FROM operations WHERE subject = $1 AND `+liveRow+`)
		RETURNING id, kind`, subject).Scan(&next.OperationID, &next.OperationKind)
	if postgres.NoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("begin what is queued on %s: %w", subject, err)
	}
	if _, err := e.inserter.InsertTx(ctx, tx, next, nil); err != nil {
		return fmt.Errorf("enqueue the job of operation %d: %w", next.OperationID, err)
	}
	return nil
}

// queued tells which operation waits for the end of the present one on subject: 0 for none.
func queued(ctx context.Context, q postgres.Querier, subject string) (id ID, kind string, err error) {
	err = q.QueryRow(ctx, "SELECT id, kind FROM operations WHERE subject = $1 AND state = 'queued'", subject).Scan(&id, &kind)
	if err != nil && !postgres.NoRows(err) {
		return 0, "", fmt.Errorf("read what is queued on %s: %w", subject, err)
	}
	return id, kind, nil
}
