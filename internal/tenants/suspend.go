package tenants

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/ops"
)

// Suspend stops a tenant and keeps its data. Its address says so at once; the state follows when the container has stopped. The owner
// reads the reason. One that its owner suspended can be suspended by an administrator on top, after which the owner can't resume it.
// Errors: ErrNotFound, ErrAlreadySuspended, ErrConflict, ErrBadReason.
func (s *Service) Suspend(ctx context.Context, p accounts.Principal, ip netip.Addr, name, reason string) (Change, error) {
	reason, err := parseReason(reason)
	if err != nil {
		return Change{}, err
	}
	by := ByOwner
	if p.Admin {
		by = ByAdmin
	}
	return s.command(ctx, request{p, ip, "client.suspend", reason}, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		return s.suspend(ctx, tx, t, by, reason)
	})
}

// SuspendTx is Suspend for billing and for the quota. One that is scheduled for deletion will be suspended if that is cancelled.
// ErrAlreadySuspended says that somebody else than the owner has suspended it before; by's reason is noted all the same, if tx is committed,
// and shows as soon as theirs is lifted.
func (s *Service) SuspendTx(ctx context.Context, tx pgx.Tx, id ID, by SuspendedBy, reason string) (Change, error) {
	reason, err := parseReason(reason)
	if err != nil {
		return Change{}, err
	}
	return s.commandTx(ctx, tx, "client.suspend", reason, id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		// An owner's suspension is overruled here too: taking the deletion back, they could lift it.
		if t.State == Scheduled && !t.cancelling() && (t.ReturnState == Active || t.ReturnState == Suspended && t.SuspendedBy == ByOwner) {
			t, err := one(ctx, tx, "suspend the scheduled client", `UPDATE tenants SET return_state = 'suspended', suspended_by = $2,
				suspend_reason = nullif($3, ''), updated_at = $4 WHERE id = $1 RETURNING `+columns, t.ID, by, reason, s.now())
			return Change{Tenant: t}, err
		}
		if t.heldByOther(by) {
			if err := s.standBehind(ctx, tx, t, by, reason); err != nil {
				return Change{}, err
			}
		}
		return s.suspend(ctx, tx, t, by, reason)
	})
}

func (s *Service) suspend(ctx context.Context, tx pgx.Tx, t Tenant, by SuspendedBy, reason string) (Change, error) {
	overruled := t.SuspendedBy == ByOwner && by != ByOwner
	switch {
	case t.State == Suspended && !t.resuming() && !overruled:
		return s.suspendAgain(ctx, tx, t, by)
	case t.suspending() && !overruled:
		return s.ensure(ctx, tx, t, SuspendKind)
	case t.State != Active && t.State != Sleeping && t.State != Suspended:
		return Change{}, conflict(t, "suspended")
	}
	carriedOut := t.State == Suspended && !t.resuming()
	t, err := s.want(ctx, tx, t.ID, WantsSuspended, by, reason)
	switch {
	case err != nil:
		return Change{}, err
	case carriedOut:
		return s.stopping(ctx, tx, t, SuspendKind)
	}
	return s.ensure(ctx, tx, t, SuspendKind)
}

// suspendAgain answers whoever suspended a tenant with the operation that still stops it, and everybody else with ErrAlreadySuspended.
func (s *Service) suspendAgain(ctx context.Context, tx pgx.Tx, t Tenant, by SuspendedBy) (Change, error) {
	if t.SuspendedBy != by {
		return Change{}, ErrAlreadySuspended
	}
	c, err := s.stopping(ctx, tx, t, SuspendKind)
	if err == nil && c.Operation == nil {
		err = ErrAlreadySuspended
	}
	return c, err
}

// stopping is for a tenant whose row may say that it is suspended, or scheduled for deletion, before its container has stopped: it was
// suspended while it was being resumed, or its deletion was cancelled in the midst of a suspension. Its operation is the one that still
// stops it, or nil; instead of one that was held another of the kind begins.
func (s *Service) stopping(ctx context.Context, tx pgx.Tx, t Tenant, kind string) (Change, error) {
	list, err := s.ops.Unfinished(ctx, tx, t.ID.Subject())
	if err != nil || len(list) == 0 {
		return Change{Tenant: t}, err
	}
	last := list[len(list)-1]
	switch {
	case last.Kind != SuspendKind && last.Kind != StopKind:
		return Change{Tenant: t}, nil
	case last.State == ops.Held:
		return s.next(ctx, tx, t, kind)
	}
	return Change{Tenant: t, Operation: &last}, nil
}

// want writes what is wanted of a tenant that stays in its state for now.
func (s *Service) want(ctx context.Context, tx pgx.Tx, id ID, desired Desired, by SuspendedBy, reason string) (Tenant, error) {
	return one(ctx, tx, "write what is wanted of the client", `
		UPDATE tenants SET desired = $2, suspended_by = nullif($3, ''), suspend_reason = nullif($4, ''), updated_at = $5,
			also_unpaid = CASE WHEN $2 = 'suspended' AND $3 NOT IN ('billing', 'owner') THEN also_unpaid END,
			also_over_quota = CASE WHEN $2 = 'suspended' AND $3 NOT IN ('quota', 'owner') THEN also_over_quota END
		WHERE id = $1 RETURNING `+columns, id, desired, by, reason, s.now())
}

// MarkSuspendedTx says that the tenant has stopped. When it isn't wanted to be suspended any more nothing changes: whoever changed
// that has enqueued what is to follow. Errors: ErrConflict.
func (s *Service) MarkSuspendedTx(ctx context.Context, tx pgx.Tx, id ID) error {
	t, err := s.Lock(ctx, tx, id)
	if err != nil || t.Desired != WantsSuspended || t.State == Suspended {
		return err
	}
	return s.move(ctx, tx, id, move{from: []State{Active, Sleeping}, to: Suspended, reason: "suspended by " + string(t.SuspendedBy)})
}

// conflict says in which state the tenant is that can't become what was asked for.
func conflict(t Tenant, asked string) error {
	return ErrConflict.WithMessage("The client is %s and can't be %s now", t.State.words(), asked)
}
