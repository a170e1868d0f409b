package tenants

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
)

// How far ahead a deletion may be scheduled, in whole hours.
const (
	DefaultDeletionHours = 12
	leastHoursOfOwners   = 12
	leastHoursOfAdmins   = 1
	mostHoursToADeletion = 720
)

// DeletionHours returns the bounds for whoever schedules a deletion.
func DeletionHours(p accounts.Principal) (least, most int) {
	if p.Admin {
		return leastHoursOfAdmins, mostHoursToADeletion
	}
	return leastHoursOfOwners, mostHoursToADeletion
}

// ScheduleDeletion stops a tenant and has it deleted after the given hours; until then it can be cancelled. Scheduling twice keeps the
// first time. Errors: ErrNotFound, ErrBadHours, ErrAlreadyDeleted, ErrConflict.
func (s *Service) ScheduleDeletion(ctx context.Context, p accounts.Principal, ip netip.Addr, name string, hours int) (Change, error) {
	least, most := DeletionHours(p)
	r := request{by: p, ip: ip, action: "client.schedule_delete"}
	return s.command(ctx, r, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if hours < least || hours > most {
			return Change{}, ErrBadHours.WithMessage("hours_until_deletion must be between %d and %d", least, most)
		}
		return s.schedule(ctx, tx, t, s.now().Add(time.Duration(hours)*time.Hour), "deletion scheduled")
	})
}

// ScheduleDeletionTx is ScheduleDeletion for billing, at a time of its own. The owner reads the reason.
func (s *Service) ScheduleDeletionTx(ctx context.Context, tx pgx.Tx, id ID, at time.Time, reason string) (Change, error) {
	return s.commandTx(ctx, tx, "client.schedule_delete", reason, id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		return s.schedule(ctx, tx, t, at, reason)
	})
}

func (s *Service) schedule(ctx context.Context, tx pgx.Tx, t Tenant, at time.Time, reason string) (Change, error) {
	var err error
	switch {
	case t.State == Deleting || t.State == Deleted:
		return Change{}, ErrAlreadyDeleted
	case t.cancelling():
		t, err = one(ctx, tx, "schedule the client's deletion again", `UPDATE tenants SET desired = 'deleted', deletion_scheduled_at = $2,
			updated_at = $3 WHERE id = $1 RETURNING `+columns, t.ID, at, s.now())
	case t.State == Scheduled:
		return s.stopping(ctx, tx, t, StopKind)
	case CanMove(t.State, Scheduled):
		t, err = s.moved(ctx, tx, t.ID, move{from: []State{t.State}, to: Scheduled, reason: reason, deleteAt: &at})
	default:
		return Change{}, conflict(t, "scheduled for deletion")
	}
	if err != nil {
		return Change{}, err
	}
	if t.ReturnState == Pending { // nothing exists that could be stopped
		return Change{Tenant: t}, nil
	}
	return s.next(ctx, tx, t, StopKind)
}

// PostponeDeletionTx gives a tenant that is scheduled for deletion more time. One that has it already, or isn't scheduled, stays as it is.
func (s *Service) PostponeDeletionTx(ctx context.Context, tx pgx.Tx, id ID, until time.Time, reason string) (Change, error) {
	return s.commandTx(ctx, tx, "client.schedule_delete", reason, id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if t.State != Scheduled || t.Desired != WantsDeleted || !t.DeletionScheduledAt.Before(until) {
			return Change{Tenant: t}, nil
		}
		t, err := one(ctx, tx, "postpone the client's deletion", `UPDATE tenants SET deletion_scheduled_at = $2, updated_at = $3 WHERE id = $1
			RETURNING `+columns, t.ID, until, s.now())
		return Change{Tenant: t}, err
	})
}

// CancelDeletion takes a tenant back to what it was: pending with its old payment deadline, suspended by whom it was, failed, or running.
// The last takes its time: until it runs the tenant stays Scheduled, without a deadline.
// Errors: ErrNotFound, ErrNotScheduled, ErrTooLate.
func (s *Service) CancelDeletion(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Change, error) {
	r := request{by: p, ip: ip, action: "client.cancel_delete"}
	return s.command(ctx, r, name, s.cancelDeletion)
}

// CancelPaidDeletionTx is CancelDeletion for billing, whose own schedule it was, and which has been paid. Until the deletion has begun that
// is in time. Errors: ErrNotFound, ErrNotScheduled, ErrTooLate.
func (s *Service) CancelPaidDeletionTx(ctx context.Context, tx pgx.Tx, id ID, reason string) (Change, error) {
	return s.commandTx(ctx, tx, "client.cancel_delete", reason, id, s.takeBack)
}

// CancelDeletionTx is CancelDeletion for billing, whose own schedule it was.
func (s *Service) CancelDeletionTx(ctx context.Context, tx pgx.Tx, id ID, reason string) (Change, error) {
	return s.commandTx(ctx, tx, "client.cancel_delete", reason, id, s.cancelDeletion)
}

func (s *Service) cancelDeletion(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
	if t.State == Scheduled && !t.cancelling() && !s.now().Before(*t.DeletionScheduledAt) {
		return Change{}, ErrTooLate
	}
	return s.takeBack(ctx, tx, t)
}

func (s *Service) takeBack(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
	switch {
	case t.State == Deleting:
		return Change{}, ErrTooLate.WithMessage("The deletion has begun: it can't be cancelled any more")
	case t.State != Scheduled:
		return Change{}, ErrNotScheduled
	case t.cancelling():
		return s.ensure(ctx, tx, t, ResumeKind)
	case t.ReturnState == Active:
		t, err := one(ctx, tx, "cancel the client's deletion", `UPDATE tenants SET desired = 'active', deletion_scheduled_at = NULL,
			updated_at = $2 WHERE id = $1 RETURNING `+columns, t.ID, s.now())
		if err != nil {
			return Change{}, err
		}
		return s.next(ctx, tx, t, ResumeKind)
	}
	t, err := s.moved(ctx, tx, t.ID, move{from: []State{Scheduled}, to: t.ReturnState, reason: "deletion cancelled"})
	if err != nil || t.State != Suspended {
		return Change{Tenant: t}, err
	}
	return s.stopping(ctx, tx, t, SuspendKind)
}
