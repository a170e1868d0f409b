package billing

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/alerts"
	"controlplane/internal/audit"
	"controlplane/internal/notices"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// remind tells the owner, once for each period, that it ends.
func (s *Service) remind(ctx context.Context, x situation, until time.Time) error {
	kind := notices.Kind("payment.reminder")
	if x.sub.Status == SubscriptionCancelled {
		kind = "subscription.ending"
	}
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		plan, kobo, err := s.amountDue(ctx, tx, x.sub, x.tenant)
		if err != nil {
			return err
		}
		if err := s.notify(ctx, tx, x.sub, kind, 0, map[string]any{"amount_kobo": kobo, "plan": plan.ID, "by_card": x.sub.Authorization != 0}); err != nil {
			return err
		}
		return lookAgain(ctx, tx, x.sub.ID, until)
	})
}

// notify has the owner told something once for each period (and number).
func (s *Service) notify(ctx context.Context, tx pgx.Tx, sub Subscription, kind notices.Kind, number int, data map[string]any) error {
	data["client"], data["currency"], data["period_end"] = sub.TenantName, sub.Currency, sub.PeriodEnd
	_, err := notices.EnqueueTx(ctx, tx, notices.Notice{
		AccountID: sub.AccountID, TenantID: sub.TenantID, Kind: kind, Data: data,
		DedupeKey: fmt.Sprintf("%s/%d/%d/%d", kind, sub.ID, sub.PeriodEnd.Unix(), number),
	})
	return err
}

// amountDue is what the next period costs, and of which plan.
func (s *Service) amountDue(ctx context.Context, q postgres.Querier, sub Subscription, tenant tenants.Tenant) (tenants.Plan, int64, error) {
	plan, err := s.deps.Tenants.PlanIn(ctx, q, targetPlan(sub, tenant))
	if err != nil {
		return plan, 0, fmt.Errorf("find the plan to be paid: %w", err)
	}
	kobo, err := s.gross(ctx, q, sub.AccountID, price(plan, sub.Cycle))
	return plan, kobo, err
}

// gross is what an account is charged for a price: with its tax, where prices are without.
func (s *Service) gross(ctx context.Context, q postgres.Querier, account accounts.ID, kobo int64) (int64, error) {
	return s.deps.Invoices.Charge(ctx, q, account, kobo)
}

// attempt begins the next attempt at being paid, or the present one again: from credit, and the card is charged for the rest if there is one.
func (s *Service) attempt(ctx context.Context, x situation, again bool) error {
	var payment Payment
	var card savedCard
	err := s.step(ctx, x, func(tx pgx.Tx, sub *Subscription) error {
		if _, err := s.keepPlanThatFits(ctx, tx, sub, x.tenant, Payment{}); err != nil {
			return err
		}
		a, err := readAttempts(ctx, tx, *sub, s.now().Add(-s.opts.ChargeWait))
		if err != nil {
			return err
		}
		if a.waiting { // somebody else has just charged the card
			return errMoved
		}
		if !again {
			s.reached(sub, x)
			sub.Stage, sub.Status = sub.Stage+1, SubscriptionPastDue
		}
		p, err := s.renewal(ctx, tx, *sub, x.tenant)
		if err != nil {
			return err
		}
		// It may yet be paid by the charge before, and nothing is taken twice for a period; when that isn't even asked about any more, credit pays, as a link would.
		if a.open || a.undecided && !p.Charged {
			return nil
		}
		if !p.Charged {
			if card, err = s.usableCard(ctx, tx, *sub); err != nil || card.code == "" {
				return err
			}
			p.Email, p.Charged = card.email, true
		}
		p.Attempt = sub.Stage
		payment, err = s.insert(ctx, tx, p, accounts.System(), netip.Addr{})
		return err
	})
	switch {
	case err != nil || payment.ID == 0:
		return err
	case payment.AmountKobo == 0:
		return s.credited(ctx, payment)
	}
	return s.chargeCard(ctx, payment, card)
}

// credited pays from credit. When that has gone meanwhile the attempt counts for nothing and is made again.
func (s *Service) credited(ctx context.Context, p Payment) error {
	_, err := s.applyCredit(ctx, p)
	if errors.Is(err, ErrCreditGone) {
		return nil
	}
	return err
}

// renewal is a payment for the next period, to be stored.
func (s *Service) renewal(ctx context.Context, q postgres.Querier, sub Subscription, tenant tenants.Tenant) (Payment, error) {
	plan, kobo, err := s.amountDue(ctx, q, sub, tenant)
	if err != nil {
		return Payment{}, err
	}
	return payFrom(ctx, q, Payment{
		AccountID: sub.AccountID, TenantID: sub.TenantID, TenantName: sub.TenantName, PlanID: plan.ID, BillingCycle: sub.Cycle,
		AmountKobo: kobo, Currency: plan.Currency, Mode: sub.Mode, Email: sub.Email, Status: StatusPending, Purpose: PurposeRenewal,
		SubscriptionID: sub.ID, PeriodStart: sub.PeriodEnd, PeriodEnd: Next(sub.Anchor, sub.PeriodEnd, sub.Cycle),
	})
}

// insert stores a payment under a fresh reference, which is unique by its 48 random bits; the database refuses the one that isn't.
func (s *Service) insert(ctx context.Context, tx pgx.Tx, p Payment, by accounts.Principal, ip netip.Addr) (Payment, error) {
	p.Reference, p.CreatedAt = newReference(), s.now()
	var err error
	if p.ID, err = insertPayment(ctx, tx, p, p.CreatedAt.Add(firstCheck)); err != nil {
		return p, err
	}
	return p, s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
		AccountID: int64(by.AccountID), Actor: by.Username, TenantID: int64(p.TenantID), Action: "payment.initialize", IP: ip,
		Detail: map[string]any{
			"reference": p.Reference, "plan": p.PlanID, "billing_cycle": string(p.BillingCycle), "amount_kobo": p.AmountKobo,
			"credit_kobo": p.CreditKobo, "purpose": string(p.Purpose), "by_card": p.Charged,
		},
	})
}

// chargeCard takes a committed payment from a saved card. Whatever becomes of it, the row ends in a state that the poller finishes; a
// charge is never sent twice under one reference, and no other one is sent before its outcome is known.
func (s *Service) chargeCard(ctx context.Context, p Payment, card savedCard) error {
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	t, err := s.deps.Gateway.ChargeAuthorization(call, ChargeRequest{
		Reference: p.Reference, Email: p.Email, AmountKobo: p.AmountKobo, Currency: p.Currency, AuthorizationCode: card.code,
		Metadata: Metadata{
			AccountID: p.AccountID, TenantID: p.TenantID, TenantName: p.TenantName, PlanID: p.PlanID, BillingCycle: p.BillingCycle,
		},
	})
	// What the gateway did has to be written down even if the time is up.
	keep, stop := context.WithTimeout(context.WithoutCancel(ctx), s.opts.GatewayTimeout)
	defer stop()
	switch {
	case err == nil && t.ChallengeURL != "": // the customer has to approve: from now on it is a link like any other
		return exec(keep, s.deps.Pool, "store where the charge is approved", `
			UPDATE payments SET authorization_url = $2, charged = false WHERE id = $1 AND status = 'pending'`, p.ID, t.ChallengeURL)
	case err == nil, errors.Is(err, ErrDuplicateReference): // we send it once: if it is there already, something in between has repeated it
		err = s.settle(keep, p.Reference)
	case errors.Is(err, ErrGatewayRefused), errors.Is(err, ErrAuthorizationUnusable):
		return s.chargeRefused(keep, p, card, err)
	}
	if err != nil {
		s.deps.Log.WarnContext(ctx, "the outcome of a charge isn't known; it will be asked for", "reference", p.Reference, "error", err)
	}
	return nil
}

func (s *Service) chargeRefused(ctx context.Context, p Payment, card savedCard, cause error) error {
	s.deps.Log.WarnContext(ctx, "gateway refused to charge a saved card", "reference", p.Reference, "error", cause)
	if errors.Is(cause, ErrAuthorizationUnusable) {
		if err := dropCard(ctx, s.deps.Pool, card.id, s.now()); err != nil {
			return err
		}
	} else if err := alerts.Raise(ctx, s.deps.Pool, alerts.Alert{
		Kind: "payment.refused", Subject: p.TenantID.Subject(), Message: "The gateway refused to charge a saved card for " + p.Reference + "; see the log.",
	}); err != nil {
		return err
	}
	return closeRefused(ctx, s.deps.Pool, p.ID, s.now())
}

// announce tells the owner that an attempt came to nothing, with a link to pay by.
func (s *Service) announce(ctx context.Context, x situation) error {
	link, err := s.link(ctx, x)
	if err != nil && !errors.Is(err, ErrPaymentRefused) { // who can't be given a link can still pay in the front end
		return err
	}
	return s.step(ctx, x, func(tx pgx.Tx, sub *Subscription) error {
		kind := notices.Kind("payment.due")
		if sub.Authorization != 0 && x.attempts.tried && !x.attempts.undecided {
			kind = "payment.failed"
		}
		sub.Announced = sub.Stage
		plan, kobo, err := s.amountDue(ctx, tx, *sub, x.tenant)
		if err != nil {
			return err
		}
		return s.notify(ctx, tx, *sub, kind, sub.Stage, map[string]any{
			"amount_kobo": kobo, "plan": plan.ID, "attempt": sub.Stage, "attempts": len(s.opts.Dunning.Days), "link": link,
			"card_undecided": x.attempts.undecided,
		})
	})
}

// linkAge is for how long a checkout is offered again.
const linkAge = 24 * time.Hour

// link returns where the coming period can be paid.
func (s *Service) link(ctx context.Context, x situation) (string, error) {
	var payment Payment
	err := s.step(ctx, x, func(tx pgx.Tx, sub *Subscription) (err error) {
		if _, err := s.keepPlanThatFits(ctx, tx, sub, x.tenant, Payment{}); err != nil {
			return err
		}
		if payment, err = s.renewal(ctx, tx, *sub, x.tenant); err != nil {
			return err
		}
		if payment.AmountKobo == 0 { // no link is needed: it is an attempt, once the charge before is over
			if x.attempts.open {
				payment = Payment{}
				return nil
			}
			payment.Attempt = sub.Stage
		}
		open, err := openLink(ctx, tx, payment, s.now().Add(-linkAge))
		if err == nil {
			payment = open
		}
		if !errors.Is(err, ErrPaymentNotFound) {
			return err
		}
		payment, err = s.insert(ctx, tx, payment, accounts.System(), netip.Addr{})
		return err
	})
	if err != nil || payment.AuthorizationURL != "" || payment.ID == 0 {
		return payment.AuthorizationURL, err
	}
	if payment.AmountKobo == 0 {
		return "", cmp.Or(s.credited(ctx, payment), errMoved)
	}
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	payment, err = s.initialize(call, payment)
	return payment.AuthorizationURL, err
}

// suspendUnpaid stops a client after the last attempt. Its data stays.
func (s *Service) suspendUnpaid(ctx context.Context, x situation) error {
	return s.step(ctx, x, func(tx pgx.Tx, sub *Subscription) error {
		_, err := s.deps.Tenants.SuspendTx(ctx, tx, sub.TenantID, tenants.ByBilling, "A payment is due since "+sub.PeriodEnd.Format("2 January 2006"))
		if errors.Is(err, tenants.ErrConflict) {
			return fmt.Errorf("%w: %w", errLater, err)
		}
		if err != nil && !errors.Is(err, tenants.ErrAlreadySuspended) { // by an administrator: it is stopped, and that is what counts
			return err
		}
		s.reached(sub, x)
		now := s.now()
		sub.SuspendedAt = &now
		return s.notify(ctx, tx, *sub, "subscription.suspended", 0, map[string]any{"deletion_in_days": s.opts.Dunning.DeleteAfter - s.opts.Dunning.SuspendAfter})
	})
}

// scheduleDeletion gives a client up that is unpaid for too long, or whose subscription was cancelled and is over.
func (s *Service) scheduleDeletion(ctx context.Context, x situation) error {
	reason := "unpaid since " + x.sub.PeriodEnd.Format("2 January 2006")
	if x.sub.Status == SubscriptionCancelled {
		reason = "the subscription was cancelled and has run out"
	}
	at := s.now().Add(s.opts.Dunning.Undo)
	return s.step(ctx, x, func(tx pgx.Tx, sub *Subscription) error {
		_, err := s.deps.Tenants.ScheduleDeletionTx(ctx, tx, sub.TenantID, at, reason)
		if errors.Is(err, tenants.ErrConflict) || errors.Is(err, tenants.ErrAlreadyDeleted) {
			return fmt.Errorf("%w: %w", errLater, err)
		}
		if err != nil {
			return err
		}
		// Whoever takes the deletion back without paying doesn't run: one that was cancelled ran until now.
		_, err = s.deps.Tenants.SuspendTx(ctx, tx, sub.TenantID, tenants.ByBilling, "A payment is due since "+sub.PeriodEnd.Format("2 January 2006"))
		if err != nil && !errors.Is(err, tenants.ErrAlreadySuspended) && !errors.Is(err, tenants.ErrConflict) { // it is suspended, by whomever
			return err
		}
		s.reached(sub, x)
		sub.DeletionAt = &at
		return s.notify(ctx, tx, *sub, "subscription.deletion_scheduled", int(at.Unix()), map[string]any{"deletion_at": at, "why": reason})
	})
}
