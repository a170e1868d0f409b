package billing

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// EventWorkflow is what Register registers, for the generic workflow tests.
func (s *Service) EventWorkflow() ops.Workflow { return s.eventWorkflow() }

// Settle asks the gateway about one payment and applies the answer, as webhook, verify and poller do.
func (s *Service) Settle(ctx context.Context, reference string) error {
	return s.settle(ctx, reference)
}

// ApplyEvent is the step of EventWorkflow, for those who have no queue.
func (s *Service) ApplyEvent(ctx context.Context, id int64) error {
	f, err := s.lookAfter(ctx, id)
	if err != nil {
		return err
	}
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		outcome, err := s.applyTx(ctx, tx, f)
		if err != nil {
			return err
		}
		return markEventApplied(ctx, tx, id, outcome, s.now())
	})
}

// Excused is how long, between two moments, nobody could pay for reasons of ours or the gateway's.
func (s *Service) Excused(ctx context.Context, from, to time.Time) (time.Duration, error) {
	return s.excused(ctx, s.deps.Pool, from, to)
}
