package ops

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// errFollow is a programming error: a step that isn't the last asked for a following operation.
var errFollow = errors.New("only the last step of a workflow can name the operation that follows")

// complete is the checkpoint after a step's Do or Undo: the step's Tx, the next step's beginning and the log, all or nothing.
func (e *Engine) complete(ctx context.Context, p *progress, run *Run, goOn bool) error {
	if p.state == Unwinding {
		next, log := p.backward(p.index-1, goOn, p.event("undone", ""))
		next.data = run.snapshot()
		return e.write(ctx, p, next, log)
	}
	step := p.workflow.Steps[p.index]
	if step.Tx == nil && run.following() == nil {
		next, log := p.forward(goOn)
		next.data = run.snapshot()
		return e.write(ctx, p, next, log)
	}
	return e.writeTx(ctx, p,
		func(ctx context.Context, tx pgx.Tx) (next standing, log []entry, err error) {
			if err := callTx(ctx, tx, step.Tx, run); err != nil {
				return next, nil, err
			}
			if err := e.stillWanted(ctx, tx, p); err != nil {
				return next, nil, err
			}
			next, log = p.forward(goOn)
			next.data = run.snapshot()
			if next.state != Done && run.following() != nil {
				return next, nil, Permanent(errFollow)
			}
			return next, log, nil
		},
		func(ctx context.Context, tx pgx.Tx) error { return e.enqueueFollowing(ctx, tx, run) })
}

func callTx(ctx context.Context, tx pgx.Tx, fn func(context.Context, pgx.Tx, *Run) error, run *Run) (err error) {
	if fn == nil {
		return nil
	}
	defer recovered(&err)
	return fn(ctx, tx, run)
}

func (e *Engine) enqueueFollowing(ctx context.Context, tx pgx.Tx, run *Run) error {
	f := run.following()
	if f == nil {
		return nil
	}
	_, err := e.EnqueueTx(ctx, tx, f.kind, run.Subject, f.input)
	return err
}

// snooze saves the data and lets this attempt go on later. A step that looks again and again is logged only the first time.
func (e *Engine) snooze(ctx context.Context, p *progress, run *Run) error {
	next := p.standing
	next.paused, next.data = true, run.snapshot()
	var log []entry
	if !p.resumed {
		log = append(log, p.event("snoozed", ""))
	}
	return e.write(ctx, p, next, log)
}

// pause gives an interrupted attempt back, uncounted.
func (e *Engine) pause(ctx context.Context, p *progress) error {
	next := p.standing
	next.paused = true
	return e.write(ctx, p, next, nil)
}

// fail records a failed attempt that will be repeated. Beyond the last one, which only an outage gets to, none is counted.
func (e *Engine) fail(ctx context.Context, p *progress, cause error) error {
	next := p.standing
	next.paused = p.attempt >= p.workflow.MaxAttempts
	next.failed, next.detail = safeText(cause, textTrying), clean(cause.Error(), maxDetailBytes)
	return e.write(ctx, p, next, []entry{p.event("retry", next.failed)})
}

// turn begins to undo, with the present step: its Do may have got half-way.
func (e *Engine) turn(ctx context.Context, p *progress, cause error) error {
	p.failed, p.detail = safeText(cause, textHeld), clean(cause.Error(), maxDetailBytes)
	next, log := p.backward(p.index, true, p.event("unwinding", p.failed))
	return e.write(ctx, p, next, log)
}

// hold stops the operation until a person looks, and tells the subject in the same transaction. When another one waits for its end
// nobody can make this one go on: that is its end.
func (e *Engine) hold(ctx context.Context, p *progress, run *Run, cause error) error {
	p.log.ErrorContext(ctx, "an operation is held", "step", p.step, "attempt", p.attempt, "error", cause)
	return e.writeTx(ctx, p,
		func(ctx context.Context, tx pgx.Tx) (standing, []entry, error) {
			next := p.standing
			next.state, next.failed, next.detail = Held, safeText(cause, textHeld), clean(cause.Error(), maxDetailBytes)
			err := callTx(ctx, tx, func(ctx context.Context, tx pgx.Tx, r *Run) error {
				if p.workflow.Held == nil {
					return nil
				}
				return p.workflow.Held(ctx, tx, r, cause)
			}, run)
			return next, []entry{p.event("held", next.failed)}, err
		},
		func(ctx context.Context, tx pgx.Tx) error { return e.afterHold(ctx, tx, p) })
}
