package ops

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/riverqueue/river"
)

const (
	// strangerWait is how long an operation rests that only a newer or differently composed process knows how to do.
	strangerWait = 10 * time.Second
	// troubleWait is how long it rests when its row can't be read or written.
	troubleWait = time.Second
	// defaultTimeout of a step's Do and Undo.
	defaultTimeout = time.Minute
)

// worker advances operations for River, one job at a time per goroutine.
type worker struct {
	river.WorkerDefaults[job]
	engine  *Engine
	session *session
}

// Work does an operation's steps back to back until it ends, has to wait, or the worker must stop. River's row is finished
// by nil and comes back after a snooze; our own row says what happened.
func (w *worker) Work(ctx context.Context, j *river.Job[job]) error {
	defer w.engine.handle(j.ID)()
	id, log := j.Args.OperationID, w.engine.log.With("operation", j.Args.OperationID, "kind", j.Args.OperationKind)
	workflow, ok := w.engine.workflows[j.Args.OperationKind]
	if !ok {
		log.WarnContext(ctx, "this process doesn't know how to do an operation, it is left for another")
		return snoozeJob(strangerWait)
	}
	ctx, cancel, err := w.session.within(ctx)
	if err != nil {
		return snoozeJob(0)
	}
	defer cancel(nil)
	p, err := w.engine.begin(ctx, id, j.ID, workflow)
	switch {
	case errors.Is(err, errUnknownStep):
		log.WarnContext(ctx, "this process doesn't know the step of an operation, it is left for another", "error", err)
		return snoozeJob(strangerWait)
	case errors.Is(err, errFenced):
		return nil
	case err != nil:
		log.ErrorContext(ctx, "an operation can't be begun yet", "error", err)
		return snoozeJob(troubleWait)
	}
	p.log, p.interrupt = log, cancel
	defer p.journal.close()
	if p.preempted {
		return w.supersede(ctx, p)
	}
	if workflow.Preemptible {
		defer w.session.short.watch(p)()
	}
	return w.advance(ctx, p)
}

// within returns a context that ends with ctx and with the present term of the lease, for which it waits.
func (s *session) within(ctx context.Context) (context.Context, context.CancelCauseFunc, error) {
	term, err := s.lease.wait(ctx, s.stopping)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	forget := context.AfterFunc(term.ctx, func() { cancel(context.Cause(term.ctx)) })
	return ctx, func(cause error) { forget(); cancel(cause) }, nil
}

// ending reports whether no further step may begin here.
func (s *session) ending() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

// advance does one step after the other. After each, or a failure, it has written where the operation stands.
func (w *worker) advance(ctx context.Context, p *progress) error {
	for {
		run := p.newRun()
		err := errWornOut
		if p.attempt <= p.workflow.MaxAttempts {
			err = call(ctx, p.timeout(), p.action(), run)
		}
		goOn := ctx.Err() == nil && !w.session.ending()
		if err == nil && errors.Is(context.Cause(ctx), errPreempted) {
			err = errPreempted
		}
		if err == nil {
			err = w.engine.complete(ctx, p, run, goOn)
		}
		if err != nil {
			var again bool
			if again, err = w.settle(ctx, p, run, err); !again {
				return err
			}
		}
		if p.state.Ended() {
			p.log.InfoContext(ctx, "operation ended", "state", p.state)
			return nil
		}
		if !goOn {
			return snoozeJob(0)
		}
	}
}

// settle writes what follows from an attempt that didn't succeed. It reports whether there is more to do now, or else what to tell River.
func (w *worker) settle(ctx context.Context, p *progress, run *Run, cause error) (again bool, result error) {
	var write *writeError
	switch {
	case errors.Is(cause, errFenced):
		return false, nil
	case errors.As(cause, &write):
		return false, w.stumble(ctx, p, cause) // the step is repeated, unless the write did arrive
	case w.engine.preempted(ctx, p):
		return false, w.supersede(ctx, p)
	}
	again, wait, err := w.outcome(ctx, p, run, cause)
	if errors.Is(err, errFenced) || err == nil && p.state == Held {
		return false, nil
	}
	if err != nil {
		return false, w.stumble(ctx, p, err)
	}
	return again, snoozeJob(wait)
}

// outcome writes what an attempt came to, and tells when there is to be another.
func (w *worker) outcome(ctx context.Context, p *progress, run *Run, cause error) (again bool, wait time.Duration, err error) {
	var (
		snooze    *snoozeError
		permanent *permanentError
		unwind    *unwindError
		outage    *outageError
	)
	switch {
	case errors.As(cause, &snooze):
		wait, err = snooze.after, w.engine.snooze(ctx, p, run)
	case errors.As(cause, &unwind) && p.state == Running:
		p.log.WarnContext(ctx, "an operation is being undone", "step", p.step, "error", cause)
		again, err = true, w.engine.turn(ctx, p, cause)
	case errors.As(cause, &permanent), errors.Is(cause, errWornOut):
		err = w.engine.hold(ctx, p, run, cause)
	case ctx.Err() != nil, errors.Is(cause, errPreempted):
		p.log.InfoContext(ctx, "a step was interrupted", "step", p.step, "error", cause, "reason", context.Cause(ctx))
		err = w.engine.pause(ctx, p)
	case p.attempt >= p.workflow.MaxAttempts && !errors.As(cause, &outage):
		err = w.engine.hold(ctx, p, run, cause)
	default:
		p.log.WarnContext(ctx, "a step failed and will be tried again", "step", p.step, "attempt", p.attempt, "error", cause)
		wait, err = w.engine.opts.Backoff(p.attempt), w.engine.fail(ctx, p, cause)
	}
	return again, wait, err
}

// stumble deals with an outcome that couldn't be written, or that a workflow's Held refused: the attempt is made again.
func (w *worker) stumble(ctx context.Context, p *progress, err error) error {
	p.log.ErrorContext(ctx, "the outcome of a step can't be written", "step", p.step, "error", err)
	var write *writeError
	if errors.As(err, &write) {
		return snoozeJob(troubleWait)
	}
	if err := w.engine.pause(ctx, p); err != nil {
		return snoozeJob(troubleWait)
	}
	return snoozeJob(w.engine.opts.Backoff(p.attempt))
}

// errWornOut holds an operation whose workers died, time and again, in the middle of one step.
var errWornOut = errors.New("the workers doing this step died, each time, before it ended")

// call runs a step's function, with its time limit. A panic is a failure like others.
func call(ctx context.Context, timeout time.Duration, fn func(context.Context, *Run) error, run *Run) (err error) {
	if fn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer recovered(&err)
	if err := fn(ctx, run); err != nil {
		return fmt.Errorf("%s: %w", run.Step, err)
	}
	return nil
}

func recovered(err *error) {
	if v := recover(); v != nil {
		*err = &panicError{value: v, stack: debug.Stack()}
	}
}
