package ops

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// errPreempted means that another operation on the subject is queued, and that this one's workflow lets it go first.
var errPreempted = errors.New("another operation takes this one's place")

// watchInterval is how often a worker looks whether something is queued behind what it is doing.
const watchInterval = 250 * time.Millisecond

// shortener interrupts the operations of this worker that another one needn't wait for.
//
// It only makes that quick. What counts is asked again where it can't be missed: when an operation is taken up, after each failure, and
// in the transaction of a step's Tx.
type shortener struct {
	engine *Engine

	mu    sync.Mutex
	doing map[*progress]struct{}
}

func newShortener(e *Engine) *shortener {
	return &shortener{engine: e, doing: map[*progress]struct{}{}}
}

// watch has p interrupted when something is queued behind it, until done is called.
func (s *shortener) watch(p *progress) (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing[p] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.doing, p)
	}
}

func (s *shortener) loop(ctx context.Context) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.look(ctx); err != nil && ctx.Err() == nil {
			s.engine.log.DebugContext(ctx, "queued operations can't be looked for", "error", err)
		}
	}
}

// look costs nothing while nothing is done that could be cut short.
func (s *shortener) look(ctx context.Context) error {
	subjects := s.subjects()
	if len(subjects) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rows, err := s.engine.pool.Query(ctx, "SELECT subject FROM operations WHERE state = 'queued' AND subject = ANY($1)", subjects)
	if err != nil {
		return err
	}
	waiting, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.doing {
		if slices.Contains(waiting, p.subject) {
			p.interrupt(errPreempted)
		}
	}
	return nil
}

func (s *shortener) subjects() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	subjects := make([]string, 0, len(s.doing))
	for p := range s.doing {
		subjects = append(subjects, p.subject)
	}
	return subjects
}

// preempted reports whether p has to make room. When that can't be found out it goes on as if not; it will be asked again.
func (e *Engine) preempted(ctx context.Context, p *progress) bool {
	if !p.workflow.Preemptible {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	id, _, err := queued(ctx, e.pool, p.subject)
	if err != nil {
		p.log.WarnContext(ctx, "it can't be told whether an operation is still wanted", "error", err)
	}
	return id != 0
}

// stillWanted returns errPreempted in a step's transaction when something was queued by those who had the subject's row before it.
func (e *Engine) stillWanted(ctx context.Context, tx pgx.Tx, p *progress) error {
	if !p.workflow.Preemptible {
		return nil
	}
	id, _, err := queued(ctx, tx, p.subject)
	if err != nil {
		return err
	}
	if id != 0 {
		return errPreempted
	}
	return nil
}

// supersede ends an operation for the one that is queued behind it.
func (w *worker) supersede(ctx context.Context, p *progress) error {
	next := p.standing
	next.state, next.detail = Abandoned, "abandoned: another operation took its place"
	switch err := w.engine.write(ctx, p, next, []entry{p.event("abandoned", textSuperseded)}); {
	case errors.Is(err, errFenced):
		return nil
	case err != nil:
		return w.stumble(ctx, p, err)
	}
	p.log.InfoContext(ctx, "operation ended", "state", p.state, "reason", errPreempted)
	return nil
}

// preemptibleKinds are those of the workflows that this process knows.
func (e *Engine) preemptibleKinds() []string {
	kinds := []string{}
	for kind, w := range e.workflows {
		if w.Preemptible {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}
