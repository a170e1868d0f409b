package billing

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/notices"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// mine finds the caller's subscription: that of the named client, or the only one. Admins, too, have only their own.
func (s *Service) mine(ctx context.Context, p accounts.Principal, name string) (Subscription, tenants.Tenant, error) {
	var sub Subscription
	if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
		t, err := s.deps.Tenants.Get(ctx, p, name)
		if err == nil && t.AccountID != p.AccountID {
			err = tenants.ErrNotFound
		}
		if err != nil {
			return sub, t, err
		}
		sub, err = subscriptionOf(ctx, s.deps.Pool, t.ID)
		return sub, t, err
	}
	list, err := subscriptionsOfAccount(ctx, s.deps.Pool, p.AccountID)
	switch {
	case err != nil:
		return sub, tenants.Tenant{}, err
	case len(list) == 0:
		return sub, tenants.Tenant{}, ErrNoSubscription
	case len(list) > 1:
		return sub, tenants.Tenant{}, ErrWhichSubscription
	}
	t, err := s.deps.Tenants.ByID(ctx, list[0].TenantID)
	return list[0], t, err
}

// change is a change that an owner makes to a subscription under its locks, with its record and a notice.
type change struct {
	by     accounts.Principal
	ip     netip.Addr
	action string
	notice notices.Kind
}

func (s *Service) alter(ctx context.Context, c change, id Subscription, do func(tx pgx.Tx, sub *Subscription, t tenants.Tenant) error) (Subscription, error) {
	var sub Subscription
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		tenant, before, err := s.lockBoth(ctx, tx, id.TenantID, id.ID)
		if err != nil {
			return err
		}
		if before.Status == SubscriptionEnded || tenant.State == tenants.Deleting || tenant.State == tenants.Deleted {
			return ErrNoSubscription
		}
		sub = before
		if err := do(tx, &sub, tenant); err != nil {
			return err
		}
		now := s.now()
		if err := saveSubscription(ctx, tx, sub, &now, now); err != nil {
			return err
		}
		if err := s.notify(ctx, tx, sub, c.notice, int(now.Unix()), map[string]any{"plan": sub.PlanID, "next_plan": sub.NextPlanID}); err != nil {
			return err
		}
		return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(c.by.AccountID), Actor: c.by.Username, TenantID: int64(sub.TenantID), Action: c.action, IP: c.ip,
			Detail: map[string]any{
				"status": []any{before.Status, sub.Status}, "next_plan": []any{before.NextPlanID, sub.NextPlanID}, "period_end": sub.PeriodEnd,
			},
		})
	})
	return sub, err
}

// Cancel lets the subscription run to the end of what is paid; then the client is deleted, with notice. A repeat changes nothing.
// Errors: ErrNoSubscription, ErrWhichSubscription, tenants.ErrNotFound.
func (s *Service) Cancel(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Subscription, error) {
	sub, _, err := s.mine(ctx, p, name)
	if err != nil || sub.Status == SubscriptionCancelled {
		return sub, err
	}
	c := change{p, ip, "subscription.cancel", "subscription.cancelled"}
	return s.alter(ctx, c, sub, func(_ pgx.Tx, sub *Subscription, _ tenants.Tenant) error {
		now := s.now()
		sub.Status, sub.CancelledAt, sub.NextPlanID = SubscriptionCancelled, &now, ""
		return nil
	})
}

// Reactivate takes a cancellation back. When what was paid is over already, the client is kept, but starts only when it is paid for.
// Errors: ErrNoSubscription, ErrWhichSubscription, ErrNotCancelled, tenants.ErrNotFound, tenants.ErrTooLate.
func (s *Service) Reactivate(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Subscription, error) {
	sub, _, err := s.mine(ctx, p, name)
	if err != nil {
		return sub, err
	}
	c := change{p, ip, "subscription.reactivate", "subscription.reactivated"}
	return s.alter(ctx, c, sub, func(tx pgx.Tx, sub *Subscription, t tenants.Tenant) error {
		if sub.Status != SubscriptionCancelled {
			return ErrNotCancelled
		}
		ours := sub.DeletionAt != nil && t.State == tenants.Scheduled
		sub.CancelledAt = nil
		switch {
		case s.now().Before(sub.PeriodEnd):
			sub.paidUp()
			return nil
		case !ours:
			sub.Status = SubscriptionPastDue
			return nil
		}
		return s.keepUnpaid(ctx, tx, sub)
	})
}

// keepUnpaid takes a client that was about to be deleted back to being suspended as unpaid, with what is left of the time that this has: it
// counts from the first unpaid day, so that nobody gains by cancelling and coming back again and again.
func (s *Service) keepUnpaid(ctx context.Context, tx pgx.Tx, sub *Subscription) error {
	now := s.now()
	lost, err := s.excused(ctx, tx, sub.PeriodEnd, now)
	if err != nil {
		return err
	}
	since := sub.PeriodEnd.Add(days(s.opts.Dunning.SuspendAfter) + lost)
	if since.After(now) {
		since = now
	}
	_, err = s.deps.Tenants.SuspendTx(ctx, tx, sub.TenantID, tenants.ByBilling, "A payment is due since "+sub.PeriodEnd.Format("2 January 2006"))
	if err != nil && !errors.Is(err, tenants.ErrAlreadySuspended) && !errors.Is(err, tenants.ErrConflict) { // it is suspended, by whomever
		return err
	}
	if _, err := s.deps.Tenants.CancelDeletionTx(ctx, tx, sub.TenantID, "subscription reactivated"); err != nil {
		return err
	}
	sub.Status, sub.Stage = SubscriptionPastDue, max(sub.Stage, len(s.opts.Dunning.Days))
	sub.Announced, sub.DeletionAt, sub.SuspendedAt, sub.StageAt = sub.Stage, nil, &now, &since
	return nil
}

// fits says in numbers why a client can't have a plan. Errors: ErrDowngradeTooSmall.
func (s *Service) fits(ctx context.Context, tx pgx.Tx, id tenants.ID, plan tenants.Plan) error {
	disk, err := s.deps.Tenants.DiskTx(ctx, tx, id)
	if err != nil {
		return err
	}
	if has := int64(plan.StorageGB) << 30; disk.TotalBytes() > has {
		return ErrDowngradeTooSmall.WithMessage("The client uses %.2f GB of disk, and plan %s has %d GB: remove at least %.2f GB first",
			gigabytes(disk.TotalBytes()), plan.ID, plan.StorageGB, gigabytes(disk.TotalBytes()-has)+0.005)
	}
	return nil
}

// fitsUpgrade is fits for a dearer plan, which may have less disk than the one before. One that has more is allowed even to a client that uses more
// than both have. Errors: ErrDowngradeTooSmall.
func (s *Service) fitsUpgrade(ctx context.Context, tx pgx.Tx, id tenants.ID, from, to string) error {
	before, err := s.deps.Tenants.PlanIn(ctx, tx, from)
	if err != nil {
		return err
	}
	plan, err := s.deps.Tenants.PlanIn(ctx, tx, to)
	if err != nil || plan.StorageGB >= before.StorageGB {
		return err
	}
	return s.fits(ctx, tx, id, plan)
}

// keepPlanThatFits gives up a downgrade to a plan that has become too small meanwhile, and tells the owner in numbers; why is nil when there is
// nothing to give up. A lower plan takes effect by money alone, so everybody who asks for money or applies it comes by here; paid is what came.
func (s *Service) keepPlanThatFits(ctx context.Context, tx pgx.Tx, sub *Subscription, tenant tenants.Tenant, paid Payment) (why, err error) {
	if sub.NextPlanID == "" || sub.NextPlanID == tenant.PlanID {
		return nil, nil
	}
	plan, err := s.deps.Tenants.PlanIn(ctx, tx, sub.NextPlanID)
	if err != nil {
		return nil, err
	}
	why = s.fits(ctx, tx, tenant.ID, plan)
	if !errors.Is(why, ErrDowngradeTooSmall) {
		return nil, why
	}
	sub.NextPlanID = ""
	return why, s.notify(ctx, tx, *sub, "subscription.plan_kept", int(paid.ID), map[string]any{
		"plan": tenant.PlanID, "wanted": plan.ID, "why": why.Error(), "reference": paid.Reference, "credit_kobo": paid.AmountKobo,
	})
}

func gigabytes(n int64) float64 { return float64(n) / (1 << 30) }

// PlanChange is what a change of plan came to, or would come to.
type PlanChange struct {
	Outcome          PlanOutcome
	From, To         string
	AmountKobo       int64 // to be paid now, or paid
	CreditKobo       int64 // what comes from the account's credit on top
	Currency         string
	EffectiveAt      time.Time // when the client has the plan, or had it from
	AuthorizationURL string    // of PlanPaymentRequired
	Reference        string    // of the payment, if there is one
}

// PlanOutcome is where a change of plan stands.
type PlanOutcome string

// What becomes of a change of plan.
const (
	PlanUnchanged       PlanOutcome = "unchanged"        // the client has the plan, and keeps it
	PlanChanged         PlanOutcome = "changed"          // the difference is paid, and the client has the plan
	PlanPaymentRequired PlanOutcome = "payment_required" // the client has it as soon as the difference is paid
	PlanPending         PlanOutcome = "pending"          // the card's bank hasn't answered yet; it follows by itself
	PlanScheduled       PlanOutcome = "scheduled"        // from the next period on
)

func (s *Service) describe(sub Subscription, t tenants.Tenant, plan tenants.Plan, outcome PlanOutcome, at time.Time) PlanChange {
	return PlanChange{Outcome: outcome, From: t.PlanID, To: plan.ID, Currency: sub.Currency, EffectiveAt: at}
}

// offeredPlan is a plan that may be chosen now.
func (s *Service) offeredPlan(ctx context.Context, id string) (tenants.Plan, error) {
	plan, err := s.deps.Tenants.Plan(ctx, id)
	if errors.Is(err, tenants.ErrUnknownPlan) || err == nil && !plan.Active {
		return plan, ErrInvalidPlan
	}
	if err != nil {
		return plan, fmt.Errorf("find the plan: %w", err)
	}
	return plan, nil
}
