package tenants

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// heldByOther reports whether a suspension shows, or will when a scheduled deletion is cancelled, that isn't by's and isn't being lifted.
// An owner's is in nobody's way.
func (t Tenant) heldByOther(by SuspendedBy) bool {
	stands := t.State == Suspended && !t.resuming() || t.suspending() || t.State == Scheduled && t.ReturnState == Suspended
	return stands && t.SuspendedBy != by && t.SuspendedBy != ByOwner
}

// behind is what would keep the tenant suspended if what shows were lifted; "" for nothing.
func (t Tenant) behind() (SuspendedBy, string) {
	switch {
	case t.AlsoUnpaid != "":
		return ByBilling, t.AlsoUnpaid
	case t.AlsoOverQuota != "":
		return ByQuota, t.AlsoOverQuota
	}
	return "", ""
}

// Causes reports whether by has suspended the tenant, be it that it shows or that it stands behind another's.
func (t Tenant) Causes(by SuspendedBy) bool {
	switch by {
	case ByBilling:
		return t.SuspendedBy == by || t.AlsoUnpaid != ""
	case ByQuota:
		return t.SuspendedBy == by || t.AlsoOverQuota != ""
	case ByOwner, ByAdmin:
	}
	return t.SuspendedBy == by
}

// standBehind notes a reason to suspend a tenant that is suspended already. Administrators and owners never get here.
func (s *Service) standBehind(ctx context.Context, tx pgx.Tx, t Tenant, by SuspendedBy, reason string) error {
	if reason == "" {
		reason = string(by)
	}
	_, err := tx.Exec(ctx, `
		UPDATE tenants SET also_unpaid = CASE WHEN $2 = 'billing' THEN $3 ELSE also_unpaid END,
			also_over_quota = CASE WHEN $2 = 'quota' THEN $3 ELSE also_over_quota END, updated_at = $4
		WHERE id = $1`, t.ID, by, reason, s.now())
	return wrap(err, fmt.Sprintf("note why tenant %s stays suspended", t.ID))
}

// forgetBehind drops by's reason, if it stands behind another's.
func (s *Service) forgetBehind(ctx context.Context, tx pgx.Tx, t Tenant, by SuspendedBy) error {
	if t.SuspendedBy == by || !t.Causes(by) {
		return nil
	}
	_, err := tx.Exec(ctx, `
		UPDATE tenants SET also_unpaid = CASE WHEN $2 <> 'billing' THEN also_unpaid END,
			also_over_quota = CASE WHEN $2 <> 'quota' THEN also_over_quota END, updated_at = $3
		WHERE id = $1`, t.ID, by, s.now())
	return wrap(err, fmt.Sprintf("drop a reason why tenant %s stays suspended", t.ID))
}

// showBehind puts what stands behind in the place of what is lifted. Nothing is started or stopped.
func (s *Service) showBehind(ctx context.Context, tx pgx.Tx, t Tenant, by SuspendedBy, reason string) (Change, error) {
	t, err := one(ctx, tx, "show why the client stays suspended", `
		UPDATE tenants SET suspended_by = $2, suspend_reason = $3, also_unpaid = CASE WHEN $2 <> 'billing' THEN also_unpaid END,
			also_over_quota = CASE WHEN $2 <> 'quota' THEN also_over_quota END, updated_at = $4
		WHERE id = $1 RETURNING `+columns, t.ID, by, reason, s.now())
	return Change{Tenant: t}, err
}
