package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/tenants"
)

const (
	alertLost     = "dispute.lost"       // subject "payment/<reference>": the bank has taken it back, and what it paid for has ended
	alertKeepPlan = "refund.plan_kept"   // subject "payment/<reference>": an upgrade was given back, and the client keeps the larger plan
	alertOverdraw = "credit.overspent"   // subject "payment/<reference>": a credit went back at the gateway that was spent here
	returnedKind  = "subscription.ended" // notice: what was paid is back with its payer, and what it paid for has ended
)

// endPaidTx ends what p paid for, since its money is with its payer again. The caller holds p's row. Only the latest period ends: one that
// is over, or after which another is paid, stays as it was. Doing it again changes nothing.
//
// A period that hasn't begun isn't paid for any more, and that is all. Of the present one the rest goes: from now on the client is unpaid, with
// no attempts left, so that neither card nor credit is charged for what was just given back. The next run of Renew suspends it; data, deletion
// and paying it again are as for every unpaid client.
func (s *Service) endPaidTx(ctx context.Context, tx pgx.Tx, p Payment, why string) error {
	if !p.paidFor() {
		return nil
	}
	tenant, sub, err := s.lockBoth(ctx, tx, p.TenantID, p.SubscriptionID)
	now := s.now()
	if err != nil || sub.Status == SubscriptionEnded || !sub.PeriodEnd.Equal(p.PeriodEnd) || !now.Before(p.PeriodEnd) {
		return err
	}
	if p.Purpose == PurposeUpgrade {
		return s.endUpgradeTx(ctx, tx, p, tenant, sub)
	}
	next := now
	if now.Before(p.PeriodStart) {
		sub.PeriodStart, sub.PeriodEnd = previous(sub.Anchor, p.PeriodStart, sub.Cycle), p.PeriodStart
		next = s.nextLook(sub)
	} else {
		s.endNow(&sub, now)
	}
	if err := saveSubscription(ctx, tx, sub, &next, now); err != nil {
		return err
	}
	s.deps.Log.WarnContext(ctx, "what a payment paid for has ended", "reference", p.Reference, "tenant_id", p.TenantID, "until", sub.PeriodEnd, "why", why)
	if err := s.record(ctx, tx, p, "subscription.end_paid", map[string]any{
		"period_end": []time.Time{p.PeriodEnd, sub.PeriodEnd}, "why": why,
	}); err != nil {
		return err
	}
	return s.notify(ctx, tx, sub, returnedKind, int(p.ID), map[string]any{"reference": p.Reference, "why": why})
}

// paidFor reports whether p was used for a subscription: one whose money was never taken up, as it wasn't what was asked for, has paid for nothing,
// and the period that it was for may have been paid by another.
func (p Payment) paidFor() bool {
	return p.SubscriptionID != 0 && p.Purpose != PurposeCredit && (p.Status == StatusSuccess || p.Status == StatusRefunded)
}

// endNow cuts the present period off. The next one counts from now: it is another beginning, with another day of the month. One that
// was cancelled stays so, and its client is deleted with the usual notice.
func (s *Service) endNow(sub *Subscription, now time.Time) {
	if !now.After(sub.PeriodStart) {
		now = sub.PeriodStart.Add(time.Microsecond)
	}
	sub.PeriodEnd, sub.Anchor, sub.Authorization, sub.ReturnedAt = now, now, 0, &now
	if sub.Status == SubscriptionCancelled {
		return
	}
	d := s.opts.Dunning
	sub.Status, sub.Stage, sub.SuspendedAt, sub.DeletionAt = SubscriptionPastDue, len(d.Days), nil, nil
	sub.Announced = sub.Stage
	since := now.Add(-days(d.SuspendAfter - d.Days[len(d.Days)-1]))
	sub.StageAt = &since
}

// endUpgradeTx gives a client its former plan back, unless it uses more than that has: then a person has to look.
func (s *Service) endUpgradeTx(ctx context.Context, tx pgx.Tx, p Payment, tenant tenants.Tenant, sub Subscription) error {
	if tenant.PlanID != p.PlanID {
		return nil // something else was decided since
	}
	plan, err := s.deps.Tenants.PlanIn(ctx, tx, p.FromPlanID)
	if err != nil {
		return fmt.Errorf("find the former plan: %w", err)
	}
	if err = s.fits(ctx, tx, tenant.ID, plan); err == nil {
		_, err = s.deps.Tenants.ChangePlanTx(ctx, tx, tenant.ID, plan.ID, "the upgrade was given back")
	}
	if errors.Is(err, ErrDowngradeTooSmall) || errors.Is(err, tenants.ErrConflict) {
		return alerts.Raise(ctx, tx, alerts.Alert{
			Kind: alertKeepPlan, Subject: "payment/" + p.Reference,
			Message: fmt.Sprintf("The upgrade %s was given back, but client %s keeps plan %s: %s.", p.Reference, p.TenantName, p.PlanID, err),
		})
	}
	if err != nil {
		return fmt.Errorf("give tenant %s its former plan: %w", tenant.ID, err)
	}
	sub.PlanID, sub.NextPlanID = plan.ID, ""
	next := s.nextLook(sub)
	return saveSubscription(ctx, tx, sub, &next, s.now())
}

// lostTx is for a payment of which a bank has taken the last of the money back.
func (s *Service) lostTx(ctx context.Context, tx pgx.Tx, p Payment, d DisputeCase) error {
	back, err := returned(ctx, tx, p.ID)
	if err != nil || back < p.AmountKobo {
		return err // the rest has paid
	}
	if err := alerts.Raise(ctx, tx, alerts.Alert{
		Kind: alertLost, Subject: "payment/" + p.Reference,
		Message: fmt.Sprintf("A bank has taken back payment %s of client %s (%s): what it paid for has ended.", p.Reference, p.TenantName, d.Category),
	}); err != nil {
		return err
	}
	return s.endPaidTx(ctx, tx, p, "your bank has taken the payment back")
}

// giveCreditBackTx returns what a payment took from credit, with a refund of its own as the record. Nothing is left to return the second time.
func (s *Service) giveCreditBackTx(ctx context.Context, tx pgx.Tx, p Payment, order RefundOrder) (RefundOrder, error) {
	kobo, err := s.unspendTx(ctx, tx, p)
	if err != nil || kobo == 0 {
		return order, err
	}
	now := s.now()
	order.PaymentID, order.Reference, order.AmountKobo, order.Currency, order.ToCredit = p.ID, p.Reference, kobo, p.Currency, true
	order.Note, order.State, order.CreatedAt, order.AcceptedAt, order.CompletedAt = fmt.Sprintf("credit %d", p.ID), RefundPending, now, &now, &now
	if order.ID, err = insertRefund(ctx, tx, order, now); err != nil {
		return order, err
	}
	order.State = RefundProcessed
	if err := saveRefund(ctx, tx, order, nil); err != nil {
		return order, err
	}
	return order, s.bookCreditBackTx(ctx, tx, p, order)
}
