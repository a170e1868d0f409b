package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

var (
	// errFenced means that another worker, or an admin, has taken the operation over: whatever was done here no longer counts.
	errFenced = errors.New("the operation was taken over")
	// errUnknownStep means that the operation stands at a step that this process doesn't have.
	errUnknownStep = errors.New("the step isn't known here")
)

// writeError is a failure to write where the operation stands, as opposed to a failure of the step. The write may have arrived.
type writeError struct{ err error }

func (w *writeError) Error() string { return w.err.Error() }
func (w *writeError) Unwrap() error { return w.err }

// writeTimeout bounds a checkpoint. It runs on even when the worker is being stopped, so that work that is done counts.
const writeTimeout = 30 * time.Second

// standing is what a checkpoint writes of an operation.
type standing struct {
	state   State
	step    string
	index   int // of the step
	attempt int
	paused  bool // the next start goes on with this attempt
	data    map[string]json.RawMessage
	failed  string // error for the owner, "" for none
	detail  string // the same for operators
}

// progress is an operation in the hands of a worker: what its row says as long as the journal's token is right.
type progress struct {
	standing
	id        ID
	subject   string
	workflow  *Workflow
	input     json.RawMessage
	resumed   bool // this attempt was paused before
	journal   *journal
	log       *slog.Logger
	preempted bool                    // found, when it was taken up, with another queued that needn't wait for it
	interrupt context.CancelCauseFunc // ends the context of the step
}

// begin takes a fresh token and with it the operation, for the attempt that follows. It returns errFenced when there is nothing to
// do for the job: the operation has ended or is held, or the job was given to someone else meanwhile.
func (e *Engine) begin(ctx context.Context, id ID, jobID int64, w *Workflow) (*progress, error) {
	names := make([]string, len(w.Steps))
	for i, s := range w.Steps {
		names[i] = s.Name
	}
	p := &progress{id: id, workflow: w, journal: newJournal(e.pool, id)}
	err := e.pool.QueryRow(ctx, `
		WITH old AS (SELECT id, paused FROM operations WHERE id = $1 FOR UPDATE)
		UPDATE operations o SET
			token = o.token + 1,
			attempt = o.attempt + CASE WHEN old.paused THEN 0 ELSE 1 END,
			paused = false,
			progress = NULL,
			step = CASE WHEN o.step = '' THEN ($3::text[])[1] ELSE o.step END,
			step_started_at = CASE WHEN o.attempt = 0 THEN now() ELSE o.step_started_at END,
			updated_at = now()
		FROM old
		WHERE o.id = old.id AND o.state IN ('running', 'unwinding') AND (o.step = '' OR o.step = ANY($3))
			AND EXISTS (SELECT FROM river_job j WHERE j.id = $2 AND j.state = 'running')
		RETURNING o.subject, o.state, o.step, o.attempt, o.token, o.input, o.data, coalesce(o.error, ''), coalesce(o.error_detail, ''),
			old.paused, EXISTS (SELECT FROM operations q WHERE q.subject = o.subject AND q.state = 'queued')`,
		id, jobID, names).Scan(&p.subject, &p.state, &p.step, &p.attempt, &p.journal.token, &p.input, &p.data, &p.failed, &p.detail,
		&p.resumed, &p.preempted)
	if postgres.NoRows(err) {
		return nil, e.whyNot(ctx, id, jobID, w)
	}
	if err != nil {
		return nil, fmt.Errorf("begin operation %d: %w", id, err)
	}
	p.preempted = p.preempted && w.Preemptible
	p.index = w.index(p.step) // the stored number is for readers: steps may have been added since
	if !p.resumed && !p.preempted {
		p.journal.add(p.event("started", ""))
	}
	return p, nil
}

// whyNot tells a step that this process doesn't know from work that isn't ours any more.
func (e *Engine) whyNot(ctx context.Context, id ID, jobID int64, w *Workflow) error {
	var step string
	err := e.pool.QueryRow(ctx, `
		SELECT step FROM operations WHERE id = $1 AND state IN ('running', 'unwinding')
			AND EXISTS (SELECT FROM river_job j WHERE j.id = $2 AND j.state = 'running')`, id, jobID).Scan(&step)
	if postgres.NoRows(err) {
		return errFenced
	}
	if err != nil {
		return fmt.Errorf("read operation %d: %w", id, err)
	}
	if w.index(step) < 0 {
		return fmt.Errorf("%w: %s", errUnknownStep, step)
	}
	return fmt.Errorf("begin operation %d: it changed meanwhile", id)
}

// action is what this attempt does: the step's Do, or its Undo on the way back.
func (p *progress) action() func(context.Context, *Run) error {
	step := p.workflow.Steps[p.index]
	if p.state == Unwinding {
		return step.Undo
	}
	return step.Do
}

func (p *progress) timeout() time.Duration {
	if t := p.workflow.Steps[p.index].Timeout; t > 0 {
		return t
	}
	return defaultTimeout
}

// newRun gives the attempt a copy of the data, so that a failed one leaves nothing behind.
func (p *progress) newRun() *Run {
	at := *p
	return &Run{
		ID: p.id, Subject: p.subject, Step: p.step, Attempt: p.attempt, input: p.input, data: maps.Clone(p.data),
		note: func(ctx context.Context, message string) {
			p.journal.note(ctx, at.event("note", clean(message, maxMessageBytes)), p.interrupt)
		},
		measure: p.journal.measure,
	}
}

func (p *progress) event(kind, message string) entry {
	return entry{at: time.Now(), step: p.step, event: kind, attempt: p.attempt, message: message}
}

// forward is where the operation stands after the present step is done, and what the log says of it.
func (p *progress) forward(goOn bool) (standing, []entry) {
	next, log := p.standing, []entry{p.event("finished", "")}
	next.failed, next.detail = "", ""
	if i := p.index + 1; i < len(p.workflow.Steps) {
		next.step, next.index = p.workflow.Steps[i].Name, i
		return next.starting(goOn, log)
	}
	next.state = Done
	return next, append(log, p.event("done", ""))
}

// backward is the same on the way back: the next step is the one before that has something to undo.
func (p *progress) backward(from int, goOn bool, log ...entry) (standing, []entry) {
	next := p.standing
	next.state = Unwinding
	for i := from; i >= 0; i-- {
		if p.workflow.Steps[i].Undo != nil {
			next.step, next.index = p.workflow.Steps[i].Name, i
			return next.starting(goOn, log)
		}
	}
	next.state = Abandoned
	return next, append(log, p.event("abandoned", ""))
}

// starting makes the checkpoint begin the next step's first attempt at once, which saves a round trip, if the worker goes on.
func (s standing) starting(goOn bool, log []entry) (standing, []entry) {
	s.attempt = 0
	if goOn {
		s.attempt = 1
		log = append(log, entry{at: time.Now(), step: s.step, event: "started", attempt: 1})
	}
	return s, log
}

// write saves where the operation stands, outside of any transaction: one round trip. Only an end needs a transaction, with the
// beginning of what is queued.
func (e *Engine) write(ctx context.Context, p *progress, next standing, log []entry) error {
	if next.state.Ended() {
		return e.writeTx(ctx, p, func(context.Context, pgx.Tx) (standing, []entry, error) { return next, log, nil }, nil)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := p.journal.save(ctx, e.pool, next, log); err != nil {
		return err
	}
	p.standing, p.resumed = next, false
	return nil
}

// writeTx is write in one transaction with fn. What fn returns comes back as it is; fn goes first, so that rows of the domain are
// always locked before the operation's, as they are by those who enqueue.
func (e *Engine) writeTx(
	ctx context.Context, p *progress,
	fn func(ctx context.Context, tx pgx.Tx) (standing, []entry, error), after func(ctx context.Context, tx pgx.Tx) error,
) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var (
		next   standing
		failed error
	)
	err := postgres.InTx(ctx, e.pool, func(tx pgx.Tx) error {
		var log []entry
		if next, log, failed = fn(ctx, tx); failed != nil {
			return failed
		}
		if err := p.journal.save(ctx, tx, next, log); err != nil {
			return err
		}
		if after != nil {
			if err := after(ctx, tx); err != nil {
				return err
			}
		}
		if next.state.Ended() {
			return e.promoteTx(ctx, tx, p.subject)
		}
		return nil
	})
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, errFenced):
		return err
	case err != nil:
		return &writeError{err: fmt.Errorf("write operation %d: %w", p.id, err)}
	}
	p.standing, p.resumed = next, false
	return nil
}
