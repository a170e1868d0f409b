package cleanup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// Deletions is the sweep that begins the deletions whose time has come.
func (s *Service) Deletions() Sweep {
	return Sweep{
		Name: "deletions", Description: "Begins the deletions that were scheduled and whose time has come",
		Cron: "*/5 * * * *", Jitter: 20 * time.Second,
		Run: func(ctx context.Context) (Result, error) {
			c := newTally()
			if err := s.sweepDeletions(ctx, c); err != nil {
				return Result{}, err
			}
			return c.result(""), c.err()
		},
	}
}

func (s *Service) sweepDeletions(ctx context.Context, c *tally) error {
	now := s.now()
	ids, err := s.deps.Tenants.DueDeletions(ctx, now, maxDue)
	if err != nil {
		return fmt.Errorf("find the deletions that are due: %w", err)
	}
	s.each(ctx, c, ids, func(ctx context.Context, id tenants.ID) error {
		if extended, err := s.deps.Money.ExtendUndo(ctx, id); err != nil || extended {
			return err
		}
		var (
			claimed bool
			op      *ops.Operation
		)
		err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) (err error) {
			claimed, op, err = s.deps.Tenants.ClaimDueDeletionTx(ctx, tx, id, now)
			return err
		})
		switch {
		case err != nil:
			return err
		case claimed && op == nil:
			c.add(func() { c.deleted++ })
		case claimed:
			c.add(func() { c.begun[id] = op.ID })
		}
		return nil // or somebody cancelled it, or was faster
	})
	return nil
}
