package tenants

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// Endpoint is where the edge reaches a tenant's container.
type Endpoint struct {
	Address   netip.Addr
	HTTPPort  int
	EventPort int // /websocket goes here
}

// move is one way through the state machine.
type move struct {
	from   []State
	to     State
	reason string // for the tenant's history, which its owner reads

	paidWith      string      // to Provisioning: the reference of the payment
	by            SuspendedBy // to Suspended: by whom; "": as the row knows already
	suspendReason string
	deleteAt      *time.Time // to Scheduled; nil: DefaultDeletionHours from now
	skippedBackup string     // to Deleting: why without a final backup
}

// MoveTx takes the tenant from any of the from states to another, with an event row, in tx. What the row says beside its state (what
// is wanted, by whom it is suspended, where a cancelled deletion leads) follows. A tenant whose deletion is cancelled goes nowhere
// but where it came from.
// Errors: ErrConflict if the tenant is in none of them, or isn't there. A move that the state machine doesn't know
// is a mistake of the caller's and never done.
func (s *Service) MoveTx(ctx context.Context, tx pgx.Tx, id ID, from []State, to State, reason string) error {
	return s.move(ctx, tx, id, move{from: from, to: to, reason: reason})
}

// moveSQL is the only statement that writes the state.
const moveSQL = `
	WITH was AS (
		SELECT *, CASE
			WHEN $3 IN ('scheduled_for_deletion', 'deleting', 'deleted') THEN 'deleted'
			WHEN $3 IN ('pending', 'provisioning') THEN 'active'
			WHEN $3 = 'suspended' OR (desired = 'deleted' AND suspended_by IS NOT NULL) THEN 'suspended'
			WHEN state IN ('suspended', 'scheduled_for_deletion') THEN 'active'
			ELSE desired END AS wanted, CASE
			WHEN $3 <> 'scheduled_for_deletion' THEN NULL
			WHEN state IN ('pending', 'failed') THEN state
			ELSE desired END AS leads_back
		FROM tenants WHERE id = $1 FOR UPDATE
	), now AS (
		SELECT *, CASE
			WHEN wanted = 'suspended' THEN coalesce(nullif($7::text, ''), suspended_by, 'admin')
			WHEN leads_back IN ('suspended', 'failed') THEN suspended_by END AS whom
		FROM was
		WHERE state = ANY($2) AND (state <> 'scheduled_for_deletion' OR CASE $3
			WHEN 'deleting' THEN return_state <> 'pending'
			WHEN 'deleted' THEN return_state = 'pending'
			ELSE return_state = $3 END)
	)
	UPDATE tenants t SET
		state = $3::text,
		desired = now.wanted,
		return_state = now.leads_back,
		suspended_by = now.whom,
		suspend_reason = CASE WHEN now.whom IS NOT NULL THEN coalesce(nullif($8::text, ''), t.suspend_reason) END,
		also_unpaid = CASE WHEN now.whom IS NOT NULL THEN t.also_unpaid END,
		also_over_quota = CASE WHEN now.whom IS NOT NULL THEN t.also_over_quota END,
		failure = CASE WHEN now.state = 'scheduled_for_deletion' OR $3 = 'scheduled_for_deletion' THEN t.failure WHEN $3 = 'failed' THEN $4 END,
		payment_status = CASE WHEN $6 <> '' THEN 'success' ELSE t.payment_status END,
		payment_reference = coalesce(nullif($6, ''), t.payment_reference),
		paid_at = CASE WHEN $6 <> '' THEN $5 ELSE t.paid_at END,
		activated_at = CASE WHEN $3 = 'active' THEN coalesce(t.activated_at, $5) ELSE t.activated_at END,
		suspended_at = CASE WHEN $3 = 'suspended' THEN coalesce(t.suspended_at, $5) WHEN now.whom IS NOT NULL THEN t.suspended_at END,
		deletion_scheduled_at = CASE WHEN $3 = 'scheduled_for_deletion' THEN $9 WHEN now.wanted = 'deleted' THEN t.deletion_scheduled_at END,
		final_backup_skipped = CASE WHEN now.wanted = 'deleted' THEN coalesce(nullif($10::text, ''), t.final_backup_skipped) END,
		deleted_at = CASE WHEN $3 = 'deleted' THEN $5::timestamptz END,
		address = CASE WHEN $3 = 'deleted' THEN NULL ELSE t.address END,
		updated_at = $5
	FROM now WHERE t.id = now.id
	RETURNING now.state`

func (s *Service) move(ctx context.Context, tx pgx.Tx, id ID, m move) error {
	for _, f := range m.from {
		if !CanMove(f, m.to) {
			return fmt.Errorf("move tenant %s: the state machine has no way from %s to %s", id, f, m.to)
		}
	}
	now := s.now()
	if m.deleteAt == nil {
		m.deleteAt = new(now.Add(DefaultDeletionHours * time.Hour))
	}
	var was State
	err := tx.QueryRow(ctx, moveSQL, id, m.from, m.to, m.reason, now, m.paidWith, m.by, m.suspendReason, m.deleteAt, m.skippedBackup).Scan(&was)
	if postgres.NoRows(err) {
		return ErrConflict.WithCause(fmt.Errorf("tenant %s is in none of %v, or may not go from there to %s", id, m.from, m.to))
	}
	if err != nil {
		return fmt.Errorf("move tenant %s to %s: %w", id, m.to, err)
	}
	return recordEvent(ctx, tx, id, &was, m.to, m.reason)
}

// MarkPaidTx notes the payment and takes a pending tenant to provisioning. It returns false, and changes nothing, when the tenant
// wasn't pending: the money is then a credit. The caller has checked the payment against the tenant's plan under Lock.
func (s *Service) MarkPaidTx(ctx context.Context, tx pgx.Tx, id ID, reference string) (activated bool, err error) {
	err = s.move(ctx, tx, id, move{from: []State{Pending}, to: Provisioning, reason: "paid with " + reference, paidWith: reference})
	if errors.Is(err, ErrConflict) {
		return false, nil
	}
	return err == nil, err
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
