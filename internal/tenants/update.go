package tenants

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
)

// UpdateInput is what may be changed; nil leaves a field as it is.
type UpdateInput struct {
	Email  *string
	PlanID *string // of an unpaid client; admins change also that of a live one, which is then resized
	Notes  *string // admins only

	With func(ctx context.Context, tx pgx.Tx, t Tenant) error // is done in the same transaction once t is changed; may be nil
}

// Update changes the caller's tenant, or for an admin anybody's. The operation, if there is one, puts a new plan's limits in place.
// Errors: ErrNotFound, ErrBadEmail, ErrUnknownPlan, ErrPlanLocked, ErrConflict, ErrAdminOnly,
// ErrBadNotes.
func (s *Service) Update(ctx context.Context, p accounts.Principal, ip netip.Addr, name string, in UpdateInput) (Change, error) {
	var c Change
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		before, err := get(ctx, tx, p, name, "FOR UPDATE")
		if err != nil {
			return err
		}
		after, err := in.apply(ctx, tx, p, before)
		if err != nil {
			return err
		}
		c = Change{Tenant: before}
		if after == before {
			if in.PlanID != nil { // perhaps a repeat
				c.Operation, err = s.ongoing(ctx, tx, before, ResizeKind)
			}
			return err
		}
		t, err := one(ctx, tx, "update the client", `
			UPDATE tenants SET email = $2, plan_id = $3, notes = nullif($4, ''), updated_at = $5 WHERE id = $1
			RETURNING `+columns, after.ID, after.Email, after.PlanID, after.Notes, s.now())
		if err != nil {
			return err
		}
		c.Tenant = t
		if in.With != nil {
			if err := in.With(ctx, tx, t); err != nil {
				return err
			}
		}
		if t.PlanID != before.PlanID {
			if c, err = s.resize(ctx, tx, t); err != nil {
				return err
			}
		}
		return s.record(ctx, tx, p, ip, t.ID, "client.update", changes(before, t))
	})
	return c, err
}

// apply returns the tenant as it is to be.
func (in UpdateInput) apply(ctx context.Context, tx pgx.Tx, p accounts.Principal, t Tenant) (Tenant, error) {
	var err error
	if in.Email != nil {
		if t.Email, err = parseEmail(*in.Email); err != nil {
			return t, err
		}
	}
	if in.Notes != nil {
		if !p.Admin {
			return t, ErrAdminOnly.WithMessage("Only administrators can change notes")
		}
		if err := checkNotes(*in.Notes); err != nil {
			return t, err
		}
		t.Notes = *in.Notes
	}
	if in.PlanID != nil && *in.PlanID != t.PlanID {
		if err := mayHavePlan(ctx, tx, p, t, *in.PlanID); err != nil {
			return t, err
		}
		t.PlanID = *in.PlanID
	}
	return t, nil
}

// changes names what an update changed, for the activity log; notes are too long for it.
func changes(before, after Tenant) map[string]any {
	detail := map[string]any{}
	if before.Email != after.Email {
		detail["email"] = []string{before.Email, after.Email}
	}
	if before.PlanID != after.PlanID {
		detail["plan"] = []string{before.PlanID, after.PlanID}
	}
	if before.Notes != after.Notes {
		detail["notes"] = "changed"
	}
	return detail
}
