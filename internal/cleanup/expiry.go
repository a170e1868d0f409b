package cleanup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

const (
	atOnce = 4
	maxDue = 2000 // per run and kind; the next run takes the rest
	// unansweredMax is after how many calls in a row that the gateway didn't answer a sweep ends: it may be down, or not want to speak of
	// these few, who mustn't keep the others from their turn.
	unansweredMax = 5
)

// Money is what is asked before a client is deleted. *billing.Service is it.
type Money interface {
	// VerifyOpen asks the gateway about every open reference, applies what it says and reports whether there is money, or soon may be.
	VerifyOpen(ctx context.Context, id tenants.ID) (money bool, err error)
	// OutageBetween is for how much of a time the gateway couldn't be reached.
	OutageBetween(ctx context.Context, from, to time.Time) (time.Duration, error)
	// ExtendUndo postpones a deletion for want of money by the time in which nobody could pay, and reports whether some is left.
	ExtendUndo(ctx context.Context, id tenants.ID) (bool, error)
}

// Failure is a client that couldn't be deleted in this run; it is tried again in the next.
type Failure struct {
	TenantID tenants.ID
	Error    string // safe to show
}

// tally is what a run did to the clients that were due. Its methods may be called by several goroutines.
type tally struct {
	mu       sync.Mutex
	deleted  int                   // at once
	begun    map[tenants.ID]ops.ID // deletions that operations carry out
	kept     int                   // there is money, or more time
	unseen   int                   // there was no time left
	failures []Failure
	cause    error // of the first failure
	silences int   // calls in a row that the gateway didn't answer
	stop     error // why none further was looked at
}

func newTally() *tally { return &tally{begun: map[tenants.ID]ops.ID{}} }

func (c *tally) add(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

func (c *tally) stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop != nil
}

// each has handle look at every due client. One that fails doesn't keep the others from their turn; only an end of ctx, or a cause
// that handle gives to stop, does.
func (s *Service) each(ctx context.Context, c *tally, ids []tenants.ID, handle func(ctx context.Context, id tenants.ID) error) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, id := range ids {
		g.Go(func() error {
			if ctx.Err() == nil && !c.stopped() {
				s.note(ctx, c, id, handle(ctx, id))
			} else {
				c.add(func() { c.unseen++ })
			}
			return nil
		})
	}
	_ = g.Wait() // never an error: they are in the tally
}

func (s *Service) note(ctx context.Context, c *tally, id tenants.ID, err error) {
	switch {
	case err == nil:
	case ctx.Err() != nil:
		c.add(func() { c.unseen++ })
	default:
		s.deps.Log.ErrorContext(ctx, "a client that is due can't be deleted yet", "tenant_id", id, "error", err)
		c.add(func() {
			c.cause = cmp.Or(c.cause, err)
			c.failures = append(c.failures, Failure{TenantID: id, Error: shown(err)})
		})
	}
}

// result is the tally as a schedule shows it.
func (c *tally) result(also string) Result {
	r := Result{Done: c.deleted + len(c.begun), Failed: len(c.failures)}
	if c.kept > 0 {
		r.Note = fmt.Sprintf("%d kept: %s", c.kept, also)
	}
	return r
}

// err is what makes a run count as failed, so that it is repeated soon.
func (c *tally) err() error {
	switch {
	case c.stop != nil:
		return c.stop
	case len(c.failures) > 0:
		return fmt.Errorf("%d clients couldn't be deleted; the first: tenant %s: %w", len(c.failures), c.failures[0].TenantID, c.cause)
	}
	return nil
}

// shown is what may be shown of an error.
func shown(err error) string {
	var e *errs.Error
	if errors.As(err, &e) && e.Message != "" {
		return e.Message
	}
	return "Something went wrong on our side; it is tried again."
}
