package tenants

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// Endpoint is where the edge reaches a tenant's container.
type Endpoint struct {
	Address   netip.Addr
	HTTPPort  int
	EventPort int // /websocket goes here
}

// MoveTx takes the tenant from any of the from states to another, with an event row, in tx. It is the only statement that writes
// the state. Errors: ErrConflict if the tenant is in none of them, or isn't there. A move that the state machine doesn't know
// is a mistake of the caller's and never done.
func (s *Service) MoveTx(ctx context.Context, tx pgx.Tx, id ID, from []State, to State, reason string) error {
	for _, f := range from {
		if !CanMove(f, to) {
			return fmt.Errorf("move tenant %s: the state machine has no way from %s to %s", id, f, to)
		}
	}
	var was State
	err := tx.QueryRow(ctx, `
		WITH was AS (SELECT id, state FROM tenants WHERE id = $1 FOR UPDATE)
		UPDATE tenants t SET
			state = $3::text,
			failure = CASE WHEN $3 = 'failed' THEN $4 END,
			activated_at = CASE WHEN $3 = 'active' THEN coalesce(t.activated_at, $5) ELSE t.activated_at END,
			suspended_at = CASE WHEN $3 = 'suspended' THEN $5 WHEN $3 = 'active' THEN NULL ELSE t.suspended_at END,
			deletion_scheduled_at = CASE WHEN $3 IN ('scheduled_for_deletion', 'deleting', 'deleted') THEN t.deletion_scheduled_at END,
			deleted_at = CASE WHEN $3 = 'deleted' THEN $5::timestamptz END,
			address = CASE WHEN $3 = 'deleted' THEN NULL ELSE t.address END,
			updated_at = $5
		FROM was WHERE t.id = was.id AND was.state = ANY($2)
		RETURNING was.state`, id, from, to, reason, s.now()).Scan(&was)
	if postgres.NoRows(err) {
		return ErrConflict.WithCause(fmt.Errorf("tenant %s is in none of %v, so can't become %s", id, from, to))
	}
	if err != nil {
		return fmt.Errorf("move tenant %s to %s: %w", id, to, err)
	}
	return recordEvent(ctx, tx, id, &was, to, reason)
}

// MarkPaidTx notes the payment and takes a pending tenant to provisioning. It returns false, and changes nothing, when the tenant
// wasn't pending: the money is then a credit. The caller has checked the payment against the tenant's plan under Lock.
func (s *Service) MarkPaidTx(ctx context.Context, tx pgx.Tx, id ID, reference string) (activated bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE tenants SET payment_status = 'success', payment_reference = $2, paid_at = $3, updated_at = $3
		WHERE id = $1 AND state = 'pending'`, id, reference, s.now())
	if err != nil {
		return false, fmt.Errorf("mark tenant %s as paid: %w", id, err)
	}
	if tag.RowsAffected() == 0 {
		return false, nil
	}
	return true, s.MoveTx(ctx, tx, id, []State{Pending}, Provisioning, "paid with "+reference)
}

// SetEndpointTx stores where the container will be reached, before the tenant is active, so that the edge can pass the health probe
// (and nothing else) through to it. Errors: ErrConflict if the tenant is gone.
func (s *Service) SetEndpointTx(ctx context.Context, tx pgx.Tx, id ID, ep Endpoint) error {
	tag, err := tx.Exec(ctx, `
		UPDATE tenants SET address = $2, http_port = $3, event_port = $4, updated_at = $5
		WHERE id = $1 AND state NOT IN ('deleting', 'deleted')`, id, ep.Address, ep.HTTPPort, ep.EventPort, s.now())
	if err != nil {
		return fmt.Errorf("store the endpoint of tenant %s: %w", id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrConflict.WithCause(fmt.Errorf("tenant %s can't have an endpoint", id))
	}
	return nil
}

// ActivateTx stores the endpoint and takes a tenant that was being made, or had failed, to active.
func (s *Service) ActivateTx(ctx context.Context, tx pgx.Tx, id ID, ep Endpoint) error {
	if err := s.SetEndpointTx(ctx, tx, id, ep); err != nil {
		return err
	}
	return s.MoveTx(ctx, tx, id, []State{Provisioning, Failed}, Active, "provisioned")
}

// FailTx says that provisioning gave up. The owner reads reason; the tenant stays paid and waits for a person.
func (s *Service) FailTx(ctx context.Context, tx pgx.Tx, id ID, reason string) error {
	return s.MoveTx(ctx, tx, id, []State{Provisioning}, Failed, reason)
}
