package billing

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

const (
	renewBatch = 50
	renewLease = 5 * time.Minute // how long a claimed subscription is left to its claimer
	renewPause = 5 * time.Minute // after a step that the gateway or the database didn't let us take
	maxSteps   = 10              // of one subscription in one run; more is a mistake of ours
)

// What a step may end with beside an error of the database.
var (
	errMoved = errors.New("the subscription has changed meanwhile")
	errLater = errors.New("it can't be done now")
)

// Renew takes every subscription that is due through its next steps: reminders, charges, links, suspension, deletion. It returns how many
// were looked at. Replicas may run it at once, and it may be cut short anywhere: each is claimed, and what was begun is found in the rows.
func (s *Service) Renew(ctx context.Context) (int, error) {
	if err := s.heartbeat(ctx); err != nil {
		return 0, err
	}
	if err := hastenDeleted(ctx, s.deps.Pool, s.now()); err != nil {
		return 0, err
	}
	var done, failed atomic.Int64
	for ctx.Err() == nil {
		ids, err := claimSubscriptions(ctx, s.deps.Pool, s.deps.Gateway.Mode(), s.now(), renewLease, renewBatch)
		if err != nil {
			return int(done.Load()), err
		}
		var g errgroup.Group
		g.SetLimit(s.opts.AtOnce)
		for _, id := range ids {
			g.Go(func() error {
				if err := s.renew(ctx, id); err != nil {
					failed.Add(1)
					s.deps.Log.ErrorContext(ctx, "look after a subscription", "subscription_id", id, "error", err)
				}
				done.Add(1)
				return nil
			})
		}
		_ = g.Wait()
		if len(ids) < renewBatch {
			break
		}
	}
	if n := failed.Load(); n > 0 {
		return int(done.Load()), fmt.Errorf("%d subscriptions couldn't be looked after", n)
	}
	return int(done.Load()), ctx.Err()
}

// renew takes one subscription as far as it goes now, and says when somebody looks at it again.
func (s *Service) renew(ctx context.Context, id SubscriptionID) error {
	asked := false
	for range maxSteps {
		x, err := s.situation(ctx, id)
		if err != nil {
			return err
		}
		d := s.opts.Dunning.decide(x)
		if d.final(x) && !asked { // perhaps it has been paid, and we only don't know yet
			if err := s.askAll(ctx, x.sub); err != nil {
				return s.later(ctx, id, err)
			}
			asked = true
			continue
		}
		if d.act == rest {
			return lookAgain(ctx, s.deps.Pool, id, d.until)
		}
		err = s.take(ctx, x, d)
		if err != nil && !errors.Is(err, errMoved) {
			return s.later(ctx, id, err)
		}
		if err == nil && (d.act == remind || d.act == finish) {
			return nil
		}
	}
	return lookAgain(ctx, s.deps.Pool, id, s.now().Add(renewPause))
}

// later puts off what can't be done now. That the gateway is down, or that a client is busy, is nothing to be alarmed about.
func (s *Service) later(ctx context.Context, id SubscriptionID, cause error) error {
	err := lookAgain(ctx, s.deps.Pool, id, s.now().Add(renewPause))
	if errs.KindOf(cause) == errs.Unavailable || errors.Is(cause, errLater) {
		s.deps.Log.WarnContext(ctx, "a subscription has to wait", "subscription_id", id, "error", cause)
		return err
	}
	return errors.Join(cause, err)
}

func (s *Service) situation(ctx context.Context, id SubscriptionID) (situation, error) {
	x := situation{now: s.now()}
	var err error
	if x.sub, err = subscriptionByID(ctx, s.deps.Pool, id); err != nil {
		return x, err
	}
	if x.tenant, err = s.deps.Tenants.ByID(ctx, x.sub.TenantID); err != nil {
		return x, err
	}
	if x.now.Before(x.sub.PeriodEnd) {
		return x, nil // paid up: nothing else counts
	}
	if x.attempts, err = readAttempts(ctx, s.deps.Pool, x.sub, x.now.Add(-s.opts.ChargeWait)); err != nil {
		return x, err
	}
	if x.sub.Status == SubscriptionPastDue && x.sub.ReturnedAt == nil {
		due, err := s.renewal(ctx, s.deps.Pool, x.sub, x.tenant)
		if err != nil {
			return x, err
		}
		x.covered = due.AmountKobo == 0
	}
	lost, err := s.excused(ctx, s.deps.Pool, x.sub.since(), x.now)
	x.counted = x.now.Sub(x.sub.since()) - lost
	return x, err
}

// askAll asks the gateway about every reference with which the coming period may have been paid.
func (s *Service) askAll(ctx context.Context, sub Subscription) error {
	references, err := unsettled(ctx, s.deps.Pool, sub, s.deps.Gateway.Mode())
	if err != nil {
		return err
	}
	for _, reference := range references {
		if err := s.settleNow(ctx, reference); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) take(ctx context.Context, x situation, d decision) error {
	switch d.act {
	case remind:
		return s.remind(ctx, x, d.until)
	case charge:
		return s.attempt(ctx, x, false)
	case chargeAgain:
		return s.attempt(ctx, x, true)
	case announce:
		return s.announce(ctx, x)
	case suspend:
		return s.suspendUnpaid(ctx, x)
	case giveUp:
		return s.scheduleDeletion(ctx, x)
	case finish:
		return s.step(ctx, x, func(_ pgx.Tx, sub *Subscription) error {
			sub.Status = SubscriptionEnded
			return nil
		})
	case rest:
	}
	return nil
}

// step changes a subscription in one transaction, unless something has happened to it since x was read. Somebody looks again soon.
func (s *Service) step(ctx context.Context, x situation, change func(tx pgx.Tx, sub *Subscription) error) error {
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		tenant, sub, err := s.lockBoth(ctx, tx, x.sub.TenantID, x.sub.ID)
		if err != nil {
			return err
		}
		if !sub.same(x.sub) || tenant.State != x.tenant.State || tenant.Desired != x.tenant.Desired || tenant.PlanID != x.tenant.PlanID {
			return errMoved
		}
		if err := change(tx, &sub); err != nil {
			return err
		}
		next := s.now().Add(renewPause)
		return saveSubscription(ctx, tx, sub, &next, s.now())
	})
}

// reached notes that a step was taken. The next one counts from when it should have been, if that isn't long ago, so that a job which
// runs every few minutes doesn't put off the last step by all of them.
func (s *Service) reached(sub *Subscription, x situation) {
	_, after := s.opts.Dunning.next(x.sub)
	overdue := max(0, x.counted-after)
	at := x.now
	if overdue < days(1) {
		at = x.now.Add(-overdue)
	}
	sub.StageAt = &at
}
