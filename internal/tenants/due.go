package tenants

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
)

// DueUnpaid returns tenants whose payment deadline has passed, the longest ago first.
func (s *Service) DueUnpaid(ctx context.Context, now time.Time, limit int) ([]ID, error) {
	return s.due(ctx, "find the unpaid clients that are due", `SELECT id FROM tenants
		WHERE state = 'pending' AND payment_deadline <= $1 ORDER BY payment_deadline LIMIT $2`, now, limit)
}

// DueDeletions returns tenants whose scheduled deletion has come, the longest ago first.
func (s *Service) DueDeletions(ctx context.Context, now time.Time, limit int) ([]ID, error) {
	return s.due(ctx, "find the deletions that are due", `SELECT id FROM tenants
		WHERE state = 'scheduled_for_deletion' AND desired = 'deleted' AND deletion_scheduled_at <= $1
		ORDER BY deletion_scheduled_at LIMIT $2`, now, limit)
}

func (s *Service) due(ctx context.Context, doing, sql string, now time.Time, limit int) ([]ID, error) {
	rows, err := s.pool.Query(ctx, sql, now, limit)
	if err != nil {
		return nil, wrap(err, doing)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[ID])
	return ids, wrap(err, doing)
}

// ClaimDueDeletionTx begins a deletion whose time has come. It returns false, and changes nothing, when there is none: it was cancelled,
// or somebody else was faster. The operation is nil for one that was never paid for: that is deleted at once.
func (s *Service) ClaimDueDeletionTx(ctx context.Context, tx pgx.Tx, id ID, now time.Time) (claimed bool, op *ops.Operation, err error) {
	c, err := s.commandTx(ctx, tx, "client.delete", "", id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if t.State != Scheduled || t.Desired != WantsDeleted || t.DeletionScheduledAt.After(now) {
			return Change{Tenant: t}, nil
		}
		claimed = true
		return s.delete(ctx, tx, t, DeleteInput{}, "the scheduled time has come")
	})
	return claimed && err == nil, c.Operation, err
}

// DeleteUnpaidTx deletes a tenant that wasn't paid for in time. The caller has made sure that no payment for it is under way. It returns
// false, and changes nothing, when the tenant isn't pending any more or its deadline was moved.
func (s *Service) DeleteUnpaidTx(ctx context.Context, tx pgx.Tx, id ID, now time.Time) (deleted bool, err error) {
	_, err = s.commandTx(ctx, tx, "client.delete", "unpaid at the deadline", id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if t.State != Pending || t.PaymentDeadline.After(now) {
			return Change{Tenant: t}, nil
		}
		deleted = true
		return s.delete(ctx, tx, t, DeleteInput{}, "unpaid at the deadline")
	})
	return deleted && err == nil, err
}
