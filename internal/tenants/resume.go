package tenants

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
)

// Resume lifts a suspension and starts the tenant. An owner lifts only their own.
// Errors: ErrNotFound, ErrUnpaid, ErrNotSuspended, ErrSuspendedByOther, ErrConflict.
func (s *Service) Resume(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Change, error) {
	return s.command(ctx, request{by: p, ip: ip, action: "client.resume"}, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if err := resumable(t); err != nil {
			return Change{}, err
		}
		if !p.Admin && !t.resuming() && t.SuspendedBy != ByOwner {
			return Change{}, liftedByOthers(t.SuspendedBy)
		}
		return s.resume(ctx, tx, t)
	})
}

// ResumeTx lifts a suspension that the same side has made: a payment doesn't lift an administrator's. What stands behind it shows then, and
// the tenant stays as it is. A suspension of what is scheduled for deletion is lifted for the case that this is cancelled. Errors: ErrNotSuspended, ErrSuspendedByOther, ErrUnpaid, ErrConflict.
func (s *Service) ResumeTx(ctx context.Context, tx pgx.Tx, id ID, by SuspendedBy) (Change, error) {
	return s.commandTx(ctx, tx, "client.resume", "", id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if next, reason := t.behind(); next != "" && t.SuspendedBy == by {
			return s.showBehind(ctx, tx, t, next, reason)
		}
		if err := s.forgetBehind(ctx, tx, t, by); err != nil {
			return Change{}, err
		}
		if t.State == Scheduled && t.ReturnState == Suspended && t.SuspendedBy == by {
			t, err := one(ctx, tx, "resume the scheduled client", `UPDATE tenants SET return_state = 'active', suspended_by = NULL,
				suspend_reason = NULL, suspended_at = NULL, updated_at = $2 WHERE id = $1 RETURNING `+columns, t.ID, s.now())
			return Change{Tenant: t}, err
		}
		if err := resumable(t); err != nil {
			return Change{}, err
		}
		if t.SuspendedBy != by {
			return Change{}, ErrSuspendedByOther
		}
		return s.resume(ctx, tx, t)
	})
}

func resumable(t Tenant) error {
	switch {
	case t.State == Scheduled || t.State == Deleting || t.State == Deleted:
		return conflict(t, "resumed")
	case t.PaidAt == nil:
		return ErrUnpaid
	case t.State == Suspended || t.suspending():
		return nil
	}
	return ErrNotSuspended
}

func (s *Service) resume(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
	if t.resuming() {
		return s.ensure(ctx, tx, t, ResumeKind)
	}
	by, reason := t.SuspendedBy, t.SuspendReason // known until it runs
	if t.State != Suspended {
		by, reason = "", ""
	}
	t, err := s.want(ctx, tx, t.ID, WantsActive, by, reason)
	if err != nil {
		return Change{}, err
	}
	return s.next(ctx, tx, t, ResumeKind)
}

// liftedByOthers tells an owner who can lift the suspension.
func liftedByOthers(by SuspendedBy) error {
	switch by {
	case ByBilling:
		return ErrSuspendedByOther.WithMessage("The client was suspended because a payment is due: it resumes when that is paid")
	case ByQuota:
		return ErrSuspendedByOther.WithMessage("The client was suspended because it takes more disk than its plan has: turn to our staff for a larger plan")
	case ByAdmin, ByOwner:
	}
	return ErrSuspendedByOther.WithMessage("The client was suspended by our staff: turn to them")
}

// MarkResumedTx says that the tenant runs, and where: it becomes active if it was suspended, or scheduled for deletion and that was
// cancelled; one that was active before stays so. When it isn't wanted to run any more nothing changes: whoever changed that has
// enqueued what is to follow. Errors: ErrConflict.
func (s *Service) MarkResumedTx(ctx context.Context, tx pgx.Tx, id ID, ep Endpoint) error {
	t, err := s.Lock(ctx, tx, id)
	if err != nil || t.Desired != WantsActive {
		return err
	}
	if err := s.SetEndpointTx(ctx, tx, id, ep); err != nil || t.State == Active {
		return err
	}
	return s.move(ctx, tx, id, move{from: []State{Suspended, Sleeping, Scheduled}, to: Active, reason: "started"})
}
