package tenants

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
)

// ChangePlan gives a tenant another plan. An unpaid one's is free to choose; that of a live one only an administrator changes: its limits
// follow at once, its workers with the next start. Apps that only the new plan has aren't installed.
// Errors: ErrNotFound, ErrUnknownPlan, ErrPlanLocked, ErrConflict.
func (s *Service) ChangePlan(ctx context.Context, p accounts.Principal, ip netip.Addr, name, planID string) (Change, error) {
	r := request{by: p, ip: ip, action: "client.change_plan"}
	return s.command(ctx, r, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if t.PlanID == planID {
			return Change{Tenant: t}, nil
		}
		if err := mayHavePlan(ctx, tx, p, t, planID); err != nil {
			return Change{}, err
		}
		return s.changePlan(ctx, tx, t, planID)
	})
}

// ChangePlanTx is ChangePlan for billing, of what is paid for: also to a plan that is no longer offered, and whatever the tenant is doing.
// Errors: ErrConflict, of one that is unpaid, being made or deleted.
func (s *Service) ChangePlanTx(ctx context.Context, tx pgx.Tx, id ID, planID, reason string) (Change, error) {
	return s.commandTx(ctx, tx, "client.change_plan", reason, id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if t.PlanID == planID {
			return Change{Tenant: t}, nil
		}
		switch t.State {
		case Pending, Provisioning, Maintenance, Deleting, Deleted:
			return Change{}, conflict(t, "given another plan")
		case Active, Suspended, Sleeping, Failed, Scheduled:
		}
		return s.changePlan(ctx, tx, t, planID)
	})
}

func (s *Service) changePlan(ctx context.Context, tx pgx.Tx, t Tenant, planID string) (Change, error) {
	t, err := one(ctx, tx, "change the client's plan", `UPDATE tenants SET plan_id = $2, updated_at = $3 WHERE id = $1 RETURNING `+columns,
		t.ID, planID, s.now())
	if err != nil {
		return Change{}, err
	}
	return s.resize(ctx, tx, t)
}

// mayHavePlan says whether the caller may give the tenant the plan now.
func mayHavePlan(ctx context.Context, tx pgx.Tx, p accounts.Principal, t Tenant, planID string) error {
	if err := offered(ctx, tx, planID); err != nil {
		return err
	}
	switch {
	case t.State == Pending:
		return nil
	case !p.Admin:
		return ErrPlanLocked
	case t.State == Failed, t.State == Active && t.wanted(), t.State == Sleeping && t.wanted(), t.State == Suspended && !t.resuming():
		return nil
	}
	return ErrConflict.WithMessage("The client is %s: change its plan when that is over", t.State.words())
}

// resize has the limits of the new plan put in place where something exists that has limits.
func (s *Service) resize(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
	if t.State == Pending || t.State == Failed {
		return Change{Tenant: t}, nil
	}
	return s.next(ctx, tx, t, ResizeKind)
}
