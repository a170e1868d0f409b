package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// queue is the River queue of operations.
const queue = "ops"

// liveJob is the SQL condition for a River job that will run or is running; it has an index.
const liveJob = `state IN ('available', 'pending', 'retryable', 'running', 'scheduled')`

// jobKind is the kind of River job that advances an operation.
const jobKind = "operation"

// job is what River stores: which operation to advance, and its kind, so that a worker that doesn't know it needn't look.
type job struct {
	OperationID   ID     `json:"operation_id" river:"unique"`
	OperationKind string `json:"operation_kind"`
}

// Kind names the job for River.
func (job) Kind() string { return jobKind }

// InsertOpts lets an operation have one live job. Attempts are counted by us; the limit is only there because River wants one.
func (job) InsertOpts() river.InsertOpts {
	return river.InsertOpts{
		Queue: queue, MaxAttempts: 1000,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
			rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
			rivertype.JobStateRunning, rivertype.JobStateScheduled,
		}},
	}
}

// ErrNotHeld is returned by Retry for an operation that isn't held.
var ErrNotHeld = errs.New(errs.Conflict, "operation_not_held", "Only an operation that is held can be tried again.")

// ErrFinished is returned by Abandon for an operation that has ended.
var ErrFinished = errs.New(errs.Conflict, "operation_finished", "The operation has ended already.")

// EnqueueTx adds an operation to subject and the job that will do it, as part of tx; workers hear of it at its commit. It returns
// ErrLive when the subject has an unfinished operation, and tx stays usable then. The input is stored as JSON and read by operators,
// so it holds no secrets. The kind needn't be registered in this process.
func (e *Engine) EnqueueTx(ctx context.Context, tx pgx.Tx, kind, subject string, input any) (Operation, error) {
	text, err := encodeInput(input)
	if err != nil {
		return Operation{}, err
	}
	var first string
	if w, ok := e.workflows[kind]; ok {
		first = w.Steps[0].Name
	}
	rows, err := tx.Query(ctx, `
		INSERT INTO operations (kind, subject, state, step, input) VALUES ($1, $2, 'running', $3, $4)
		ON CONFLICT (subject) WHERE `+liveRow+` DO NOTHING
		RETURNING `+operationColumns, kind, subject, first, text)
	if err != nil {
		return Operation{}, fmt.Errorf("enqueue %s of %s: %w", kind, subject, err)
	}
	op, err := e.collectOne(rows)
	if postgres.NoRows(err) {
		return Operation{}, ErrLive
	}
	if err != nil {
		return Operation{}, fmt.Errorf("enqueue %s of %s: %w", kind, subject, err)
	}
	if _, err := e.inserter.InsertTx(ctx, tx, job{OperationID: op.ID, OperationKind: kind}, nil); err != nil {
		return Operation{}, fmt.Errorf("enqueue the job of operation %d: %w", op.ID, err)
	}
	return op, nil
}

func encodeInput(input any) ([]byte, error) {
	if input == nil {
		return []byte("{}"), nil
	}
	text, err := json.Marshal(input)
	if err != nil {
		return nil, fmt.Errorf("encode the operation's input: %w", err)
	}
	return text, nil
}

// Retry lets a held operation go on with the step it was held at, with all its attempts before it. One that was held while
// unwinding goes on unwinding. What is in also is done in the same transaction, for those who keep a record of it.
func (e *Engine) Retry(ctx context.Context, id ID, also ...func(ctx context.Context, q postgres.Querier) error) error {
	return postgres.InTx(ctx, e.pool, func(tx pgx.Tx) error {
		var kind string
		err := tx.QueryRow(ctx, `
			WITH resumed AS (
				UPDATE operations SET state = CASE WHEN unwinding THEN 'unwinding' ELSE 'running' END, token = token + 1,
					attempt = 0, paused = false, error = NULL, error_detail = NULL, updated_at = now()
				WHERE id = $1 AND state = 'held' RETURNING id, kind, step
			), logged AS (
				INSERT INTO operation_events (operation_id, step, event, attempt) SELECT id, step, 'resumed', 0 FROM resumed
			)
			SELECT kind FROM resumed`, id).Scan(&kind)
		if postgres.NoRows(err) {
			return e.refuse(ctx, tx, id, ErrNotHeld)
		}
		if err != nil {
			return fmt.Errorf("resume operation %d: %w", id, err)
		}
		// The job that held it may not be marked as completed yet, and would stand in the way of a new one.
		if _, err := tx.Exec(ctx, `
			UPDATE river_job SET state = 'completed', finalized_at = now()
			WHERE queue = $1 AND state = 'running' AND (args->>'operation_id')::bigint = $2`, queue, id); err != nil {
			return fmt.Errorf("put away the old job of operation %d: %w", id, err)
		}
		if _, err := e.inserter.InsertTx(ctx, tx, job{OperationID: id, OperationKind: kind}, nil); err != nil {
			return fmt.Errorf("enqueue the job of operation %d: %w", id, err)
		}
		if err := e.released(ctx, tx, id); err != nil {
			return err
		}
		for _, do := range also {
			if err := do(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// Abandon ends an unfinished operation as it is; nothing is undone and the subject isn't told. The context of a step that is
// just being done is cancelled, so it may go on for a moment, but it can't write any more. What was queued behind it begins. The
// reason is for operators.
func (e *Engine) Abandon(ctx context.Context, id ID, reason string, also ...func(ctx context.Context, q postgres.Querier) error) error {
	return postgres.InTx(ctx, e.pool, func(tx pgx.Tx) error {
		subject, err := e.abandonTx(ctx, tx, id, clean(reason, maxDetailBytes), "")
		if err != nil {
			return err
		}
		for _, do := range also {
			if err := do(ctx, tx); err != nil {
				return err
			}
		}
		return e.promoteTx(ctx, tx, subject)
	})
}

// abandonTx ends an unfinished operation and tells its subject; text is what its owner reads in the log. It leaves what is queued.
func (e *Engine) abandonTx(ctx context.Context, tx pgx.Tx, id ID, reason, text string) (subject string, err error) {
	var was State
	err = tx.QueryRow(ctx, `
		WITH old AS (SELECT id, state FROM operations WHERE id = $1 AND finished_at IS NULL FOR UPDATE), ended AS (
			UPDATE operations o SET state = 'abandoned', token = token + 1, error_detail = $2, updated_at = now(), finished_at = now()
			FROM old WHERE o.id = old.id RETURNING o.id, o.subject, o.step, o.attempt, old.state AS was
		), logged AS (
			INSERT INTO operation_events (operation_id, step, event, attempt, message) SELECT id, step, 'abandoned', attempt, $3 FROM ended
		)
		SELECT subject, was FROM ended`, id, "abandoned: "+reason, text).Scan(&subject, &was)
	if postgres.NoRows(err) {
		return "", e.refuse(ctx, tx, id, ErrFinished)
	}
	if err != nil {
		return "", fmt.Errorf("abandon operation %d: %w", id, err)
	}
	if was == Held {
		return subject, e.released(ctx, tx, id)
	}
	return subject, e.cancelJobs(ctx, tx, id)
}

func (e *Engine) cancelJobs(ctx context.Context, tx pgx.Tx, id ID) error {
	rows, err := tx.Query(ctx, `
		SELECT id FROM river_job WHERE queue = $1 AND `+liveJob+` AND (args->>'operation_id')::bigint = $2`, queue, id)
	if err != nil {
		return fmt.Errorf("find the job of operation %d: %w", id, err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return fmt.Errorf("find the job of operation %d: %w", id, err)
	}
	for _, j := range jobs {
		if _, err := e.inserter.JobCancelTx(ctx, tx, j); err != nil {
			return fmt.Errorf("cancel the job of operation %d: %w", id, err)
		}
	}
	return nil
}

// refuse tells why an operation couldn't be changed: it doesn't exist, or it isn't in the state for it.
func (e *Engine) refuse(ctx context.Context, tx pgx.Tx, id ID, wrongState error) error {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM operations WHERE id = $1)", id).Scan(&exists); err != nil {
		return fmt.Errorf("look up operation %d: %w", id, err)
	}
	if !exists {
		return ErrNotFound
	}
	return wrongState
}

// snoozeJob is what a worker answers River to see the job again after d; River counts no attempt for it.
func snoozeJob(d time.Duration) error { return river.JobSnooze(max(d, 0)) }
