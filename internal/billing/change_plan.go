package billing

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// leastCharge is the smallest amount that the gateway takes, by currency. A smaller difference isn't forgiven: the change waits for the
// next period.
func leastCharge(currency string) int64 {
	switch currency {
	case "NGN":
		return 50_00
	case "KES":
		return 3_00
	case "USD":
		return 2_00
	case "GHS":
		return 10
	}
	return 1_00
}

// ChangePlan gives the caller's client another plan. A dearer one is had at once, for the difference of what is left of the period, which is
// charged first; a cheaper one from the next period on, if it is large enough. The plan that the client has takes back a change that
// was to come. With preview nothing is done. Errors: ErrNoSubscription, ErrWhichSubscription, ErrInvalidPlan, ErrCancelled, ErrPayFirst,
// ErrDowngradeTooSmall, ErrUpgradeUnderWay, ErrGatewayDown, ErrPaymentRefused, tenants.ErrNotFound, tenants.ErrConflict.
func (s *Service) ChangePlan(ctx context.Context, p accounts.Principal, ip netip.Addr, name, planID string, preview bool) (PlanChange, error) {
	sub, tenant, err := s.mine(ctx, p, name)
	if err != nil {
		return PlanChange{}, err
	}
	plan, err := s.offeredPlan(ctx, planID)
	if err != nil {
		return PlanChange{}, err
	}
	current, err := s.deps.Tenants.Plan(ctx, tenant.PlanID)
	if err != nil {
		return PlanChange{}, err
	}
	if err := s.changeable(sub, tenant, plan); err != nil {
		return PlanChange{}, err
	}
	cost := upgradeCost(sub.term(), price(current, sub.Cycle), price(plan, sub.Cycle), s.now())
	if cost, err = s.gross(ctx, s.deps.Pool, sub.AccountID, cost); err != nil {
		return PlanChange{}, err
	}
	if price(plan, sub.Cycle) <= price(current, sub.Cycle) || cost < leastCharge(sub.Currency) {
		return s.changeLater(ctx, p, ip, sub, tenant, plan, preview)
	}
	if s.deps.Capacity != nil { // before any money is asked for
		if err := s.deps.Capacity.Check(ctx, tenant.ID, plan.ID); err != nil {
			return PlanChange{}, err
		}
	}
	if err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error { return s.fitsUpgrade(ctx, tx, tenant.ID, current.ID, plan.ID) }); err != nil {
		return PlanChange{}, err
	}
	c := s.describe(sub, tenant, plan, PlanPaymentRequired, s.now())
	if preview {
		pay, err := payFrom(ctx, s.deps.Pool, s.upgradePayment(sub, c, cost))
		c.AmountKobo, c.CreditKobo = pay.AmountKobo, pay.CreditKobo
		return c, err
	}
	return s.upgrade(ctx, p, ip, sub, c, cost)
}

func (s *Service) changeable(sub Subscription, tenant tenants.Tenant, plan tenants.Plan) error {
	switch {
	case sub.Status == SubscriptionEnded || tenant.State == tenants.Deleting || tenant.State == tenants.Deleted:
		return ErrNoSubscription
	case sub.Status == SubscriptionCancelled:
		return ErrCancelled
	case sub.Status == SubscriptionPastDue || !s.now().Before(sub.PeriodEnd):
		return ErrPayFirst
	case !served(tenant.State):
		return tenants.ErrConflict
	case plan.Currency != sub.Currency:
		return ErrInvalidPlan
	}
	return nil
}

// changeLater writes down what the client is to have from the next period on.
func (s *Service) changeLater(ctx context.Context, p accounts.Principal, ip netip.Addr, sub Subscription, t tenants.Tenant, plan tenants.Plan,
	preview bool,
) (PlanChange, error) {
	c := s.describe(sub, t, plan, PlanScheduled, sub.PeriodEnd)
	if plan.ID == t.PlanID {
		c.Outcome, c.EffectiveAt = PlanUnchanged, s.now()
		if sub.NextPlanID == "" {
			return c, nil
		}
	}
	check := func(tx pgx.Tx) error {
		if plan.ID == t.PlanID {
			return nil
		}
		return s.fits(ctx, tx, t.ID, plan)
	}
	if preview {
		return c, postgres.InTx(ctx, s.deps.Pool, check)
	}
	how := change{p, ip, "subscription.change_plan", "subscription.plan_scheduled"}
	_, err := s.alter(ctx, how, sub, func(tx pgx.Tx, sub *Subscription, t tenants.Tenant) error {
		if err := s.changeable(*sub, t, plan); err != nil {
			return err
		}
		if sub.NextPlanID = plan.ID; plan.ID == t.PlanID {
			sub.NextPlanID = ""
		}
		return check(tx)
	})
	return c, err
}

// upgradePayment is the payment of an upgrade, to be stored, before credit is taken into account.
func (s *Service) upgradePayment(sub Subscription, c PlanChange, cost int64) Payment {
	return Payment{
		AccountID: sub.AccountID, TenantID: sub.TenantID, TenantName: sub.TenantName, PlanID: c.To, FromPlanID: c.From, BillingCycle: sub.Cycle,
		AmountKobo: cost, Currency: sub.Currency, Mode: s.deps.Gateway.Mode(), Status: StatusPending, Purpose: PurposeUpgrade,
		SubscriptionID: sub.ID, PeriodStart: latest(s.now(), sub.PeriodStart), PeriodEnd: sub.PeriodEnd,
	}
}

// upgrade takes the difference from credit and the saved card or, failing that, opens a checkout for it. Who pays gets the plan, in paidTx.
func (s *Service) upgrade(ctx context.Context, p accounts.Principal, ip netip.Addr, sub Subscription, c PlanChange, cost int64) (PlanChange, error) {
	card, err := s.usableCard(ctx, s.deps.Pool, sub)
	if err != nil {
		return PlanChange{}, err
	}
	if card.code != "" {
		payment, err := s.openUpgrade(ctx, p, ip, sub, c, cost, card.email, true)
		if err != nil {
			return PlanChange{}, err
		}
		if payment.AmountKobo == 0 {
			return s.upgradeCredited(ctx, c, payment)
		}
		if err := s.chargeCard(ctx, payment, card); err != nil {
			return PlanChange{}, err
		}
		if c, done, err := s.upgradeCharged(ctx, c, payment.Reference); err != nil || done {
			return c, err
		}
	}
	payment, err := s.openUpgrade(ctx, p, ip, sub, c, cost, p.Email, false)
	if err != nil {
		return PlanChange{}, err
	}
	if payment.AmountKobo == 0 {
		return s.upgradeCredited(ctx, c, payment)
	}
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	if payment, err = s.initialize(call, payment); err != nil {
		return PlanChange{}, err
	}
	c.Reference, c.AuthorizationURL, c.AmountKobo, c.CreditKobo = payment.Reference, payment.AuthorizationURL, payment.AmountKobo, payment.CreditKobo
	return c, nil
}

func (s *Service) upgradeCredited(ctx context.Context, c PlanChange, payment Payment) (PlanChange, error) {
	payment, err := s.applyCredit(ctx, payment)
	c.Outcome, c.Reference, c.CreditKobo = PlanChanged, payment.Reference, payment.CreditKobo
	return c, err
}

// upgradeCharged reports what became of a charge; false when it came to nothing.
func (s *Service) upgradeCharged(ctx context.Context, c PlanChange, reference string) (PlanChange, bool, error) {
	payment, err := paymentByReference(ctx, s.deps.Pool, reference)
	if err != nil {
		return c, false, err
	}
	c.Reference, c.AuthorizationURL, c.AmountKobo, c.CreditKobo = reference, payment.AuthorizationURL, payment.AmountKobo, payment.CreditKobo
	switch {
	case payment.Status == StatusSuccess && payment.Purpose == PurposeUpgrade:
		c.Outcome = PlanChanged
	case payment.Status == StatusPending && payment.AuthorizationURL != "":
		c.Outcome = PlanPaymentRequired // the bank wants the customer to approve
	case payment.Status == StatusPending:
		c.Outcome = PlanPending
	case payment.Status == StatusFailed:
		return c, false, nil
	default: // it came too late, and is a credit
		return c, false, tenants.ErrConflict
	}
	return c, true, nil
}

// openUpgrade commits the payment of a difference, unless a charge for the same client is under way.
func (s *Service) openUpgrade(ctx context.Context, p accounts.Principal, ip netip.Addr, sub Subscription, c PlanChange, cost int64, email string,
	byCard bool,
) (Payment, error) {
	payment := s.upgradePayment(sub, c, cost)
	payment.Email = email
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		tenant, current, err := s.lockBoth(ctx, tx, sub.TenantID, sub.ID)
		if err != nil {
			return err
		}
		if !current.same(sub) || tenant.PlanID != c.From || tenant.State == tenants.Scheduled {
			return tenants.ErrConflict
		}
		a, err := readAttempts(ctx, tx, current, s.now().Add(-s.opts.ChargeWait))
		if err != nil {
			return err
		}
		if a.open {
			return ErrUpgradeUnderWay
		}
		if err := s.fitsUpgrade(ctx, tx, tenant.ID, c.From, c.To); err != nil {
			return err
		}
		if payment, err = payFrom(ctx, tx, payment); err != nil {
			return err
		}
		payment.Charged = payment.Charged || byCard
		payment, err = s.insert(ctx, tx, payment, p, ip)
		return err
	})
	return payment, err
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// initializeRenewal opens a checkout for the next period of a client that was paid for before.
func (s *Service) initializeRenewal(ctx context.Context, p accounts.Principal, ip netip.Addr, t tenants.Tenant, planID string) (Payment, error) {
	sub, err := subscriptionOf(ctx, s.deps.Pool, t.ID)
	if errors.Is(err, ErrNoSubscription) {
		return Payment{}, ErrNotPayable
	}
	if err != nil {
		return Payment{}, err
	}
	var payment Payment
	var tooSmall error
	err = postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		tenant, sub, err := s.lockBoth(ctx, tx, t.ID, sub.ID)
		if err != nil {
			return err
		}
		if err := s.renewable(sub, tenant, planID); err != nil {
			return err
		}
		if tooSmall, err = s.keepPlanThatFits(ctx, tx, &sub, tenant, Payment{}); err != nil {
			return err
		}
		now := s.now()
		if tooSmall != nil { // from now on the plan that it has is what is to be paid
			return saveSubscription(ctx, tx, sub, &now, now)
		}
		a, err := readAttempts(ctx, tx, sub, now.Add(-s.opts.ChargeWait))
		if err != nil {
			return err
		}
		// A charge in review, or of another period, isn't waited for: if it succeeds beside this one it is a credit. Before the period's end it is,
		// since an upgrade that is still to be had would be one too.
		if a.paying || a.waiting && now.Before(sub.PeriodEnd) {
			return ErrUpgradeUnderWay
		}
		if payment, err = s.renewal(ctx, tx, sub, tenant); err != nil {
			return err
		}
		if payment.Charged && a.open { // credit isn't spent on what a card may have paid
			return ErrUpgradeUnderWay
		}
		payment.Email = p.Email
		payment, err = s.insert(ctx, tx, payment, p, ip)
		return err
	})
	if err = cmp.Or(err, tooSmall); err != nil {
		return Payment{}, err
	}
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout)
	defer cancel()
	return s.collect(call, payment)
}

// payEarly is how long before its end the next period can be paid by hand.
const payEarly = 14 * 24 * time.Hour

func (s *Service) renewable(sub Subscription, t tenants.Tenant, planID string) error {
	switch {
	case sub.Status == SubscriptionEnded, !served(t.State) && (t.State != tenants.Scheduled || sub.DeletionAt == nil):
		return ErrNotPayable
	case sub.Status == SubscriptionCancelled:
		return ErrCancelled
	case s.now().Before(sub.PeriodEnd.Add(-payEarly)):
		return ErrPaidUp
	case targetPlan(sub, t) != t.PlanID && s.now().Before(sub.PeriodEnd): // who pays for the next plan has it at once
		return ErrPaidUp
	case planID != targetPlan(sub, t):
		return ErrPlanMismatch
	}
	return nil
}
