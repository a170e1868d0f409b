// Package ops runs durable operations on River: one row per thing being done to a subject, its steps, checkpoints and log, and
// one River job kind that advances it. It knows nothing of tenants or payments; workflows are registered by the layers above.
package ops

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
)

// ID identifies an operation.
type ID int64

// State is where an operation stands.
type State string

// The states of an operation.
const (
	Queued    State = "queued" // waits for the live one on its subject to end
	Running   State = "running"
	Unwinding State = "unwinding" // undoing its steps, last one first
	Held      State = "held"      // gave up; a person looks. Counts as live
	Done      State = "done"
	Abandoned State = "abandoned" // unwound, or given up by an admin
)

// Operation is one row of the operations table.
type Operation struct {
	ID            ID
	Kind          string
	Subject       string // "tenant/42"
	State         State
	Step          string    // the step being done, or done last
	StepIndex     int       // 0-based
	StepCount     int       // 0 when the workflow isn't registered in this process
	Attempt       int       // of the present step, 1-based once it has begun
	Error         string    // of the last attempt; safe to show to the owner
	ErrorDetail   string    // the same for admins and logs
	Progress      *Progress // of the present step, if it tells
	StepStartedAt time.Time
	CreatedAt     time.Time
	UpdatedAt     time.Time
	FinishedAt    *time.Time
}

// Ended reports whether an operation in this state will never go on.
func (s State) Ended() bool { return s == Done || s == Abandoned }

// Event is one line of an operation's log, as its owner may read it.
type Event struct {
	At      time.Time
	Step    string
	Event   string // queued, started, finished, retry, snoozed, held, unwinding, undone, note, done, abandoned or resumed
	Attempt int
	Message string // safe to show; "" for events that say it all
}

// Workflow is how one kind of operation is done.
type Workflow struct {
	Kind  string
	Steps []Step
	// Held is called in the transaction that holds the operation, to tell the subject. It may be nil.
	Held func(ctx context.Context, tx pgx.Tx, r *Run, cause error) error
	// MaxAttempts is how often a step is tried before the operation is held; 0 means DefaultMaxAttempts.
	MaxAttempts int
	// Preemptible says that an operation which is queued behind this one needn't wait for its end: the context of its step is cancelled
	// and it is abandoned, as it is, with nothing undone. Whatever may be queued must make good what this one left half done.
	Preemptible bool
}

// DefaultMaxAttempts with the engine's back-off is about twenty minutes of waiting, and the time of the attempts themselves.
const DefaultMaxAttempts = 12

// Step is one checkpointed part of a workflow. Do runs first, then Tx in the checkpoint's transaction; either may be nil. Do and
// Undo must return soon after their context ends: it ends when the step's time is up, and when the worker loses the right to go on.
type Step struct {
	Name    string                                             // stored; never renamed while operations are live
	Timeout time.Duration                                      // of Do; 0 means one minute
	Do      func(ctx context.Context, r *Run) error            // outside world: at least once, so idempotent; no tx open
	Tx      func(ctx context.Context, tx pgx.Tx, r *Run) error // our rows: exactly once, with the checkpoint
	Undo    func(ctx context.Context, r *Run) error            // tolerates "never happened"; nil when nothing to undo
}

// ErrLive is returned by EnqueueTx when the subject already has an unfinished operation.
var ErrLive = errs.New(errs.Conflict, "operation_running", "Another operation on this is still going on.")

// ErrNotFound is returned for an operation that doesn't exist.
var ErrNotFound = errs.New(errs.NotFound, "operation_not_found", "Operation not found")
