package billing

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// VerifyOpen asks the gateway about every reference with which a tenant may yet be paid for, and applies what it says. It reports
// whether there is money: that it was paid, that a payment is just being made, or one that a person has to look at. Then the tenant
// mustn't be deleted as unpaid. What came in and bought nothing is a credit, which outlives the tenant. An error, ErrGatewayDown when there was no answer, means that nobody knows.
func (s *Service) VerifyOpen(ctx context.Context, id tenants.ID) (money bool, err error) {
	references, err := s.openReferences(ctx, id)
	if err != nil {
		return false, err
	}
	for _, reference := range references {
		if err := s.settleNow(ctx, reference); err != nil {
			return false, err
		}
	}
	err = s.deps.Pool.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM payments WHERE tenant_id = $1 AND (status = 'success' AND purpose <> 'credit' OR status IN ('pending', 'failed') AND (
			review IS NOT NULL OR created_at > $2 AND gateway_status = ANY($3))))`,
		id, s.now().Add(-s.opts.CloseAfter), underWay()).Scan(&money)
	if err != nil {
		return false, fmt.Errorf("look for money for tenant %s: %w", id, err)
	}
	return money, nil
}

// ExtendUndo gives a client that billing has scheduled for deletion the time back in which nobody could pay, since the gateway or we were down,
// and asks the gateway about its open payments when none is left. It reports whether the client isn't to be deleted now. What its owner or
// an administrator has scheduled is theirs.
func (s *Service) ExtendUndo(ctx context.Context, id tenants.ID) (bool, error) {
	sub, err := subscriptionOf(ctx, s.deps.Pool, id)
	if errors.Is(err, ErrNoSubscription) || err == nil && sub.DeletionAt == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	t, err := s.deps.Tenants.ByID(ctx, id)
	if err != nil || t.DeletionScheduledAt == nil || t.DeletionScheduledAt.Before(*sub.DeletionAt) {
		return false, err
	}
	lost, err := s.excused(ctx, s.deps.Pool, sub.DeletionAt.Add(-s.opts.Dunning.Undo), s.now())
	if err != nil {
		return false, err
	}
	until := sub.DeletionAt.Add(lost)
	if !until.After(s.now()) {
		return s.paidMeanwhile(ctx, id)
	}
	return true, postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		_, err := s.deps.Tenants.PostponeDeletionTx(ctx, tx, id, until, "nobody could pay for a while")
		return err
	})
}

// paidMeanwhile asks about what nobody has told us of, and reports whether that took the client's deletion back.
func (s *Service) paidMeanwhile(ctx context.Context, id tenants.ID) (bool, error) {
	if _, err := s.VerifyOpen(ctx, id); err != nil {
		return false, err
	}
	t, err := s.deps.Tenants.ByID(ctx, id)
	return err == nil && t.DeletionScheduledAt == nil, err
}

// underWay are the gateway's words for a customer who is paying, or whose bank hasn't answered. What is still so after CloseAfter counts
// for nothing. An abandoned checkout isn't among them: nobody is at it.
func underWay() []string {
	return []string{
		string(GatewayOngoing), string(GatewayPending), string(GatewayProcessing), string(GatewayQueued), string(GatewayReversalPending),
	}
}

// openReferences are those of the gateway's present mode: of others it knows nothing.
func (s *Service) openReferences(ctx context.Context, id tenants.ID) ([]string, error) {
	rows, err := s.deps.Pool.Query(ctx, `
		SELECT reference FROM payments WHERE tenant_id = $1 AND status IN ('pending', 'failed') AND mode = $2 ORDER BY id`, id, s.deps.Gateway.Mode())
	if err != nil {
		return nil, fmt.Errorf("find the open payments of tenant %s: %w", id, err)
	}
	references, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("find the open payments of tenant %s: %w", id, err)
	}
	return references, nil
}

// settleNow is settle for those who can't wait for another try.
func (s *Service) settleNow(ctx context.Context, reference string) error {
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	f, err := s.look(call, reference, "")
	if err != nil {
		return ErrGatewayDown.WithCause(err)
	}
	return s.apply(ctx, f)
}
