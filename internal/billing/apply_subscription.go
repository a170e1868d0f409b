package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/notices"
	"controlplane/internal/tenants"
)

// startTx begins the subscription of a client that was just paid for, and notes on the payment what it pays for.
func (s *Service) startTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) (Payment, error) {
	card, err := cardOf(ctx, tx, p, t.Authorization)
	if err != nil {
		return p, err
	}
	since := s.paidSince(t)
	sub := Subscription{
		AccountID: p.AccountID, TenantID: p.TenantID, PlanID: p.PlanID, Cycle: p.BillingCycle, Currency: p.Currency, Mode: p.Mode,
		Email: p.Email, PeriodStart: since, PeriodEnd: Next(since, since, p.BillingCycle), Authorization: card,
	}
	if sub.ID, err = insertSubscription(ctx, tx, sub, s.nextLook(sub), s.now()); err != nil {
		return p, err
	}
	p.SubscriptionID, p.PeriodStart, p.PeriodEnd = sub.ID, sub.PeriodStart, sub.PeriodEnd
	return p, exec(ctx, tx, "note what the payment pays for", `UPDATE payments SET subscription_id = $2, period_start = $3, period_end = $4 WHERE id = $1`,
		p.ID, p.SubscriptionID, p.PeriodStart, p.PeriodEnd)
}

// paidSince is when the gateway says that it was paid, unless that can't be.
func (s *Service) paidSince(t Transaction) time.Time {
	now := s.now()
	if t.PaidAt == nil || t.PaidAt.After(now) || t.PaidAt.Before(now.Add(-s.opts.CloseAfter)) {
		return now
	}
	return t.PaidAt.UTC().Truncate(time.Microsecond)
}

// nextLook is when something has to be done about a subscription that is paid up.
func (s *Service) nextLook(sub Subscription) time.Time {
	if at := sub.PeriodEnd.Add(-days(s.opts.Dunning.Remind)); at.After(s.now()) {
		return at
	}
	return s.now()
}

// renewedTx pays for the next period: it begins where the last one ended, however late that is, and what was taken away from the client for
// want of it is given back at once.
func (s *Service) renewedTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) (string, error) {
	tenant, sub, err := s.lockBoth(ctx, tx, p.TenantID, p.SubscriptionID)
	if err != nil {
		return "", err
	}
	reason := s.unwanted(p, sub, tenant)
	if reason == "" {
		if reason, err = s.outgrownTx(ctx, tx, p, sub, tenant); err != nil {
			return "", err
		}
	}
	if bought, err := s.buysTx(ctx, tx, p, t, reason); err != nil || bought != "" {
		return bought, err
	}
	if err := markPaid(ctx, tx, p.ID, t, PurposeRenewal, s.now()); err != nil {
		return "", err
	}
	if tenant.PlanID != p.PlanID {
		if _, err := s.deps.Tenants.ChangePlanTx(ctx, tx, p.TenantID, p.PlanID, "from the new period on"); err != nil {
			return "", fmt.Errorf("change the plan of tenant %s: %w", p.TenantID, err)
		}
	}
	if err := s.restoreTx(ctx, tx, tenant); err != nil {
		return "", err
	}
	card, err := cardOf(ctx, tx, p, t.Authorization)
	if err != nil {
		return "", err
	}
	if card != 0 {
		sub.Authorization = card
	}
	sub.PlanID, sub.NextPlanID, sub.Email = p.PlanID, "", p.Email
	sub.PeriodStart, sub.PeriodEnd = p.PeriodStart, p.PeriodEnd
	sub.paidUp()
	next := s.nextLook(sub)
	if err := saveSubscription(ctx, tx, sub, &next, s.now()); err != nil {
		return "", err
	}
	s.deps.Log.InfoContext(ctx, "payment renews its client", "reference", p.Reference, "tenant_id", p.TenantID, "amount_kobo", p.AmountKobo,
		"until", sub.PeriodEnd)
	return "renewed", s.finishTx(ctx, tx, p, t)
}

// outgrown begins the reason why money that came for a lower plan buys nothing: its client uses more by now. It is the customer's credit then,
// with which the plan that the client keeps is paid.
const outgrown = "the lower plan has become too small: "

// outgrownTx says whether a renewal pays for a lower plan that the client has outgrown since it was asked for, or "". The client stays on its plan
// then, and has the next period to pay for it.
func (s *Service) outgrownTx(ctx context.Context, tx pgx.Tx, p Payment, sub Subscription, tenant tenants.Tenant) (string, error) {
	why, err := s.keepPlanThatFits(ctx, tx, &sub, tenant, p)
	if err != nil || why == nil {
		return "", err
	}
	now := s.now()
	return outgrown + why.Error(), saveSubscription(ctx, tx, sub, &now, now)
}

// paidUp forgets how far we were in asking.
func (s *Subscription) paidUp() {
	s.Status, s.Stage, s.Announced = SubscriptionActive, 0, 0
	s.StageAt, s.SuspendedAt, s.DeletionAt, s.CancelledAt, s.ReturnedAt = nil, nil, nil, nil, nil
}

// unwanted says why a renewal can't be used for its client, or "".
func (s *Service) unwanted(p Payment, sub Subscription, tenant tenants.Tenant) string {
	switch {
	case sub.Status == SubscriptionEnded || tenant.State == tenants.Deleting || tenant.State == tenants.Deleted:
		return "the client is deleted"
	case sub.Status == SubscriptionCancelled:
		return "the subscription is cancelled"
	case tenant.State == tenants.Scheduled && sub.DeletionAt == nil:
		return "the client is scheduled for deletion"
	case !p.PeriodStart.Equal(sub.PeriodEnd):
		return fmt.Sprintf("the period from %s is paid already", p.PeriodStart.Format(time.DateOnly))
	case p.PlanID != targetPlan(sub, tenant):
		return fmt.Sprintf("paid for plan %s, but the client is to have %s", p.PlanID, targetPlan(sub, tenant))
	}
	return ""
}

// targetPlan is what the next period is for. Administrators may have changed the tenant's plan.
func targetPlan(sub Subscription, tenant tenants.Tenant) string {
	if sub.NextPlanID != "" {
		return sub.NextPlanID
	}
	return tenant.PlanID
}

// restoreTx lifts what billing did to a client that wasn't paid for. What others did stays.
func (s *Service) restoreTx(ctx context.Context, tx pgx.Tx, tenant tenants.Tenant) error {
	_, err := s.deps.Tenants.ResumeTx(ctx, tx, tenant.ID, tenants.ByBilling)
	if err != nil && !errors.Is(err, tenants.ErrNotSuspended) && !errors.Is(err, tenants.ErrSuspendedByOther) && !errors.Is(err, tenants.ErrConflict) {
		return fmt.Errorf("resume tenant %s: %w", tenant.ID, err)
	}
	if tenant.State != tenants.Scheduled {
		return nil
	}
	if _, err := s.deps.Tenants.CancelPaidDeletionTx(ctx, tx, tenant.ID, "paid"); err != nil {
		return fmt.Errorf("cancel the deletion of tenant %s: %w", tenant.ID, err)
	}
	return nil
}

// upgradedTx gives a client the larger plan whose difference was paid.
func (s *Service) upgradedTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) (string, error) {
	tenant, sub, err := s.lockBoth(ctx, tx, p.TenantID, p.SubscriptionID)
	if err != nil {
		return "", err
	}
	reason, err := s.upgradeUnwanted(ctx, tx, p, sub, tenant)
	if err != nil {
		return "", err
	}
	if bought, err := s.buysTx(ctx, tx, p, t, reason); err != nil || bought != "" {
		return bought, err
	}
	if err := markPaid(ctx, tx, p.ID, t, PurposeUpgrade, s.now()); err != nil {
		return "", err
	}
	if _, err := s.deps.Tenants.ChangePlanTx(ctx, tx, p.TenantID, p.PlanID, "upgrade paid with "+p.Reference); err != nil {
		return "", fmt.Errorf("change the plan of tenant %s: %w", p.TenantID, err)
	}
	sub.PlanID, sub.NextPlanID = p.PlanID, ""
	next := s.nextLook(sub)
	if err := saveSubscription(ctx, tx, sub, &next, s.now()); err != nil {
		return "", err
	}
	s.deps.Log.InfoContext(ctx, "payment upgrades its client", "reference", p.Reference, "tenant_id", p.TenantID, "plan", p.PlanID)
	return "upgraded", s.finishTx(ctx, tx, p, t)
}

// upgradeUnwanted says why the difference to another plan can't be used for its client, or "". Errors: tenants.ErrConflict of a client that is being
// maintained: it is served again soon, and the payment is applied then.
func (s *Service) upgradeUnwanted(ctx context.Context, tx pgx.Tx, p Payment, sub Subscription, tenant tenants.Tenant) (string, error) {
	switch {
	case sub.Status == SubscriptionEnded || !served(tenant.State) && tenant.State != tenants.Maintenance:
		return fmt.Sprintf("the client was %s", tenant.State), nil
	case sub.Status == SubscriptionCancelled:
		return "the subscription is cancelled", nil
	case tenant.PlanID != p.FromPlanID:
		return fmt.Sprintf("paid for a change from plan %s, but the client has %s", p.FromPlanID, tenant.PlanID), nil
	case !sub.PeriodEnd.Equal(p.PeriodEnd) || !s.now().Before(sub.PeriodEnd):
		return "the period that was paid for is over", nil
	case tenant.State == tenants.Maintenance:
		return "", tenants.ErrConflict
	}
	err := s.fitsUpgrade(ctx, tx, tenant.ID, p.FromPlanID, p.PlanID)
	if errors.Is(err, ErrDowngradeTooSmall) {
		return "the plan that was paid for has become too small: " + err.Error(), nil
	}
	return "", err
}

// finishTx is what every payment that was used for something ends with.
func (s *Service) finishTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) error {
	if err := s.record(ctx, tx, p, "payment.success", map[string]any{"purpose": string(p.Purpose)}); err != nil {
		return err
	}
	_, err := notices.EnqueueTx(ctx, tx, notices.Notice{
		AccountID: p.AccountID, TenantID: p.TenantID, Kind: "payment.received", DedupeKey: "payment.received/" + p.Reference,
		Data: map[string]any{
			"client": p.TenantName, "reference": p.Reference, "amount_kobo": p.AmountKobo, "credit_kobo": p.CreditKobo, "currency": p.Currency, "plan": p.PlanID,
			"purpose": string(p.Purpose), "period_start": p.PeriodStart, "period_end": p.PeriodEnd,
		},
	})
	if err != nil {
		return err
	}
	what, err := saleOf(ctx, tx, p)
	if err != nil {
		return err
	}
	return s.bookSaleTx(ctx, tx, p, t, what)
}

// saleOf describes what a payment of a subscription buys.
func saleOf(ctx context.Context, tx pgx.Tx, p Payment) (sale, error) {
	what, err := activation(ctx, tx, p)
	if err != nil {
		return what, err
	}
	what.PeriodStart, what.PeriodEnd = p.PeriodStart, p.PeriodEnd.AddDate(0, 0, -1)
	if p.Purpose == PurposeUpgrade {
		what.PeriodStart = time.Time{}
		what.Description = "Change of plan for the rest of the period: " + what.Description
	}
	if what.PeriodStart.IsZero() || what.PeriodEnd.Before(what.PeriodStart) {
		what.PeriodStart, what.PeriodEnd = time.Time{}, time.Time{}
	}
	return what, nil
}

// lockBoth locks in the order that everybody keeps, so that no two can wait for each other: payment, tenant, subscription, credits by their ids,
// the number of an invoice, that of a credit note, accounts of the ledger. Whoever needs a thing further up takes it before: see lockEnd.
func (s *Service) lockBoth(ctx context.Context, tx pgx.Tx, tenant tenants.ID, id SubscriptionID) (tenants.Tenant, Subscription, error) {
	t, err := s.deps.Tenants.Lock(ctx, tx, tenant)
	if err != nil {
		return tenants.Tenant{}, Subscription{}, err
	}
	sub, err := lockSubscription(ctx, tx, id)
	return t, sub, err
}
