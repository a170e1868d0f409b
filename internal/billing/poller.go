package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const (
	firstCheck    = 15 * time.Second // after the row was made
	pollLease     = 2 * time.Minute  // how long a claimed row is left to its claimer
	gatewayPause  = time.Minute      // after a look at which the gateway didn't answer
	maxPollRounds = 10
)

// nextCheck is the back-off: a reference is looked at again after as long as it has been open already, but at least 15 s and at
// most an hour, until it has been unpaid for CloseAfter; nil means no more. Only an answer of the gateway closes a reference, so
// nothing is closed while it is down.
func (s *Service) nextCheck(p Payment) *time.Time {
	now := s.now()
	age := now.Sub(p.CreatedAt)
	if age >= s.opts.CloseAfter {
		return nil
	}
	next := now.Add(min(max(age, firstCheck), time.Hour))
	return &next
}

// Poll asks the gateway about every unfinished payment that is due, for webhooks that never came and failures, of which there is no
// webhook. Replicas may run it at once: each row is claimed.
func (s *Service) Poll(ctx context.Context) error {
	for range maxPollRounds {
		due, err := claimDue(ctx, s.deps.Pool, s.deps.Gateway.Mode(), s.now(), pollLease, s.opts.PollBatch)
		if err != nil {
			return fmt.Errorf("claim the payments to look at: %w", err)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(s.opts.AtOnce)
		for _, reference := range due {
			g.Go(func() error { return s.poll(gctx, reference) })
		}
		if err := g.Wait(); err != nil || len(due) < s.opts.PollBatch {
			return err
		}
	}
	return nil
}

// poll returns only errors of our own database; a gateway that is down is normal here.
func (s *Service) poll(ctx context.Context, reference string) error {
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	err := s.settle(call, reference)
	if err == nil {
		return nil
	}
	s.deps.Log.WarnContext(ctx, "look at a payment", "reference", reference, "error", err)
	return postpone(ctx, s.deps.Pool, reference, s.now().Add(gatewayPause))
}

// ResumeProvisioning starts provisioning again for every paid client that waits for it and that nothing is working on, so that a
// paid client is never forgotten, whatever went wrong between the payment and the queue.
func (s *Service) ResumeProvisioning(ctx context.Context) error {
	ids, err := paidAndWaiting(ctx, s.deps.Pool, s.now().Add(-time.Minute))
	if err != nil {
		return fmt.Errorf("find the paid clients that wait: %w", err)
	}
	for _, id := range ids {
		if err := s.resume(ctx, id); err != nil {
			return fmt.Errorf("resume provisioning of tenant %s: %w", id, err)
		}
	}
	return nil
}

func (s *Service) resume(ctx context.Context, id tenants.ID) error {
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		t, err := s.deps.Tenants.Lock(ctx, tx, id)
		if err != nil || t.State != tenants.Provisioning {
			return err
		}
		err = s.deps.Provisioner.EnqueueTx(ctx, tx, id)
		if errors.Is(err, ops.ErrLive) {
			return nil // the usual case: it is being made
		}
		if err == nil {
			s.deps.Log.WarnContext(ctx, "a paid client had no operation; started again", "tenant_id", id)
		}
		return err
	})
}
