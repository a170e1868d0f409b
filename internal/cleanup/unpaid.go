package cleanup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// Unpaid is the sweep that gives up clients which nobody paid for in time.
func (s *Service) Unpaid() Sweep {
	return Sweep{
		Name: "unpaid", Description: "Deletes clients that weren't paid for by their deadline, once the gateway has said so",
		Cron: "0 * * * *", Jitter: 2 * time.Minute,
		Run: func(ctx context.Context) (Result, error) {
			c := newTally()
			if err := s.sweepUnpaid(ctx, c); err != nil {
				return Result{}, err
			}
			return c.result("paid, or with time left"), c.err()
		},
	}
}

func (s *Service) sweepUnpaid(ctx context.Context, c *tally) error {
	ids, err := s.deps.Tenants.DueUnpaid(ctx, s.now(), maxDue)
	if err != nil {
		return fmt.Errorf("find the unpaid clients that are due: %w", err)
	}
	s.each(ctx, c, ids, func(ctx context.Context, id tenants.ID) error { return s.giveUp(ctx, c, id) })
	return nil
}

// giveUp deletes a client unless there is money for it, or time owed to it. It is asked in this order: the gateway, with no
// transaction open, then the row under its lock; what is paid in between has moved the row by then.
func (s *Service) giveUp(ctx context.Context, c *tally, id tenants.ID) error {
	money, err := s.deps.Money.VerifyOpen(ctx, id)
	if ctx.Err() != nil {
		return ctx.Err() // our own time is up, not the gateway's
	}
	c.answered(err)
	if err != nil { // nobody is deleted on a guess
		return err
	}
	now := s.now()
	if !money {
		if money, err = s.owedTime(ctx, id, now); err != nil {
			return err
		}
	}
	if money {
		c.add(func() { c.kept++ })
		return nil
	}
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		deleted, err := s.deps.Tenants.DeleteUnpaidTx(ctx, tx, id, now)
		if deleted {
			c.add(func() { c.deleted++ })
		}
		return err
	})
}

// answered notes whether the gateway did. When it stays silent for several clients in a row the others would wait for nothing as well.
func (c *tally) answered(err error) {
	c.add(func() {
		if errs.KindOf(err) != errs.Unavailable {
			c.silences = 0
			return
		}
		if c.silences++; c.silences >= unansweredMax {
			c.stop = err
		}
	})
}

// owedTime reports whether the customer, who had from the client's creation to its deadline, still has some of the time left in which
// the gateway couldn't be reached. Outages in that added time count too.
func (s *Service) owedTime(ctx context.Context, id tenants.ID, now time.Time) (bool, error) {
	t, err := s.deps.Tenants.ByID(ctx, id)
	if err != nil {
		return false, err
	}
	for deadline := t.PaymentDeadline; ; {
		lost, err := s.deps.Money.OutageBetween(ctx, t.CreatedAt, deadline)
		if err != nil {
			return false, err
		}
		later := t.PaymentDeadline.Add(lost)
		if later.After(now) || !later.After(deadline) {
			return later.After(now), nil
		}
		deadline = later
	}
}
