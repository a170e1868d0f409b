package ops

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// task is a periodic job of the leading worker.
type task struct {
	name     string
	interval time.Duration
	fn       func(ctx context.Context) error
	running  sync.Mutex // held by the loop of one leadership, so that the next waits for it
}

// Every has fn called once when a worker becomes the leader, which is at start when it is the only one, and then every interval, by
// one worker at a time. Which one is decided by an advisory lock on the connection that also holds its lease: when it dies another
// takes over within about a second, sooner than by River's own election, and without a job row per call. A call that takes longer
// than the interval delays the next. ctx ends when the lead is lost or the engine stops. A failed call is logged, and
// repeated at its next time. Must be called before Start; a name that was used already panics.
func (e *Engine) Every(name string, interval time.Duration, fn func(ctx context.Context) error) {
	for _, t := range e.tasks {
		if t.name == name {
			panic("ops: periodic task " + name + " is registered twice")
		}
	}
	e.tasks = append(e.tasks, &task{name: name, interval: interval, fn: fn})
}

func (t *task) loop(ctx context.Context, log *slog.Logger) {
	t.running.Lock()
	defer t.running.Unlock()
	ticker := time.NewTicker(t.interval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if err := t.once(ctx); err != nil && ctx.Err() == nil {
			log.ErrorContext(ctx, "a periodic task went wrong", "task", t.name, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (t *task) once(ctx context.Context) (err error) {
	defer recovered(&err)
	if err := t.fn(ctx); err != nil {
		return fmt.Errorf("run %s: %w", t.name, err)
	}
	return nil
}
