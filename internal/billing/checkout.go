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
	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// InitializeInput says what is to be paid. An empty BillingCycle means monthly; an empty ClientName means the caller's only unpaid
// client of that plan, as old front ends send none.
type InitializeInput struct {
	PlanID       string
	BillingCycle string
	ClientName   string
}

// Initialize opens a checkout for one client, plan and cycle: for an unpaid client, or for the next period of one whose time runs out,
// which keeps its cycle. Every call makes a new reference, and our row is committed before
// the gateway hears of it, so that no payment can arrive that we don't know.
func (s *Service) Initialize(ctx context.Context, p accounts.Principal, ip netip.Addr, in InitializeInput) (Payment, error) {
	cycle, err := parseCycle(in.BillingCycle)
	if err != nil {
		return Payment{}, err
	}
	plan, err := s.deps.Tenants.Plan(ctx, in.PlanID)
	if errors.Is(err, tenants.ErrUnknownPlan) {
		return Payment{}, ErrInvalidPlan
	}
	if err != nil {
		return Payment{}, fmt.Errorf("find the plan to be paid: %w", err)
	}
	tenant, err := s.payable(ctx, p, plan, in.ClientName)
	if err != nil {
		return Payment{}, err
	}
	if tenant.State != tenants.Pending {
		return s.initializeRenewal(ctx, p, ip, tenant, plan.ID)
	}
	if s.deps.Capacity != nil { // before any money is asked for
		if err := s.deps.Capacity.Check(ctx, tenant.ID, plan.ID); err != nil {
			return Payment{}, err
		}
	}
	call, cancel := context.WithTimeout(ctx, s.opts.GatewayTimeout) // for all tries together
	defer cancel()
	for range 3 { // a reference that the gateway knows although we don't is replaced; 48 random bits make that rare
		payment, err := s.open(ctx, p, ip, tenant, plan, cycle)
		if err != nil {
			return Payment{}, err
		}
		payment, err = s.collect(call, payment)
		if !errors.Is(err, ErrDuplicateReference) {
			return payment, err
		}
	}
	return Payment{}, ErrGatewayDown
}

func parseCycle(text string) (Cycle, error) {
	switch Cycle(text) {
	case "", Monthly:
		return Monthly, nil
	case Annual:
		return Annual, nil
	}
	return "", ErrInvalidCycle
}

func price(plan tenants.Plan, cycle Cycle) int64 {
	if cycle == Annual {
		return plan.AnnualKobo()
	}
	return plan.PriceMonthlyKobo
}

// payable finds the client that is meant and says early what is wrong with it; open checks again under a lock.
func (s *Service) payable(ctx context.Context, p accounts.Principal, plan tenants.Plan, name string) (tenants.Tenant, error) {
	if name == "" {
		return s.onlyUnpaid(ctx, p, plan)
	}
	t, err := s.deps.Tenants.Get(ctx, p, strings.ToLower(strings.TrimSpace(name)))
	if err != nil {
		return tenants.Tenant{}, err
	}
	if t.AccountID != p.AccountID { // admins see everybody's clients, but pay only for their own
		return tenants.Tenant{}, tenants.ErrNotFound
	}
	if t.State == tenants.Pending {
		return t, checkPayable(t, plan)
	}
	return t, nil
}

func (s *Service) onlyUnpaid(ctx context.Context, p accounts.Principal, plan tenants.Plan) (tenants.Tenant, error) {
	unpaid, err := s.deps.Tenants.UnpaidOf(ctx, s.deps.Pool, p.AccountID, plan.ID)
	if err != nil {
		return tenants.Tenant{}, fmt.Errorf("find the client to be paid: %w", err)
	}
	switch len(unpaid) {
	case 0:
		return s.onlyPastDue(ctx, p)
	case 1:
		return unpaid[0], nil
	}
	return tenants.Tenant{}, ErrWhichClient
}

// onlyPastDue is for a front end that names no client when a next period is to be paid.
func (s *Service) onlyPastDue(ctx context.Context, p accounts.Principal) (tenants.Tenant, error) {
	list, err := subscriptionsWhere(ctx, s.deps.Pool, `WHERE s.account_id = $1 AND s.status = 'past_due' ORDER BY s.id LIMIT 2`, p.AccountID)
	switch {
	case err != nil:
		return tenants.Tenant{}, err
	case len(list) == 0:
		return tenants.Tenant{}, ErrNoUnpaidClient
	case len(list) > 1:
		return tenants.Tenant{}, ErrWhichClient
	}
	return s.deps.Tenants.ByID(ctx, list[0].TenantID)
}

func checkPayable(t tenants.Tenant, plan tenants.Plan) error {
	if t.State != tenants.Pending {
		return ErrNotPayable
	}
	if t.PlanID != plan.ID {
		return ErrPlanMismatch
	}
	return nil
}

// open commits a payment row under a fresh reference.
func (s *Service) open(ctx context.Context, p accounts.Principal, ip netip.Addr, t tenants.Tenant, plan tenants.Plan, cycle Cycle) (Payment, error) {
	payment := Payment{
		AccountID: p.AccountID, TenantID: t.ID, TenantName: t.Name, PlanID: plan.ID, BillingCycle: cycle,
		Currency: plan.Currency, Mode: s.deps.Gateway.Mode(), Email: p.Email,
		Status: StatusPending, Purpose: PurposeActivation, CreatedAt: s.now(),
	}
	cost, err := s.gross(ctx, s.deps.Pool, p.AccountID, price(plan, cycle))
	if err != nil {
		return Payment{}, err
	}
	for {
		payment.Reference, payment.AmountKobo = newReference(), cost
		err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
			current, err := s.deps.Tenants.Lock(ctx, tx, t.ID)
			if err != nil {
				return err
			}
			if err := checkPayable(current, plan); err != nil {
				return err
			}
			if payment, err = payFrom(ctx, tx, payment); err != nil {
				return err
			}
			if payment.ID, err = insertPayment(ctx, tx, payment, payment.CreatedAt.Add(firstCheck)); err != nil {
				return err
			}
			return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
				AccountID: int64(p.AccountID), Actor: p.Username, TenantID: int64(t.ID), Action: "payment.initialize", IP: ip,
				Detail: map[string]any{
					"reference": payment.Reference, "plan": plan.ID, "billing_cycle": string(cycle), "amount_kobo": payment.AmountKobo,
					"credit_kobo": payment.CreditKobo,
				},
			})
		})
		if postgres.UniqueViolation(err) == "payments_reference_taken" {
			continue
		}
		return payment, err
	}
}

// newReference uses the alphabet that the gateway documents; the unique index catches the one in 2^48.
func newReference() string { return "ODOO-" + strings.ToUpper(secrets.RandomHex(6)) }

// collect has a committed payment paid: by the account's credit where that is enough, otherwise at the gateway's checkout.
func (s *Service) collect(ctx context.Context, payment Payment) (Payment, error) {
	if payment.AmountKobo == 0 {
		return s.applyCredit(ctx, payment)
	}
	return s.initialize(ctx, payment)
}

// initialize tells the gateway about a committed payment. Whatever the outcome, the row ends in a state that the poller finishes.
func (s *Service) initialize(ctx context.Context, payment Payment) (Payment, error) {
	checkout, err := s.deps.Gateway.Initialize(ctx, InitializeRequest{
		Reference: payment.Reference, Email: payment.Email, AmountKobo: payment.AmountKobo, Currency: payment.Currency,
		CallbackURL: s.opts.CallbackURL,
		Metadata: Metadata{
			AccountID: payment.AccountID, TenantID: payment.TenantID, TenantName: payment.TenantName, PlanID: payment.PlanID,
			BillingCycle: payment.BillingCycle,
		},
	})
	// What the gateway did has to be written down even if the user has gone or the time is up.
	keep, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer stop()
	if err != nil {
		return Payment{}, s.initializeFailed(keep, payment, err)
	}
	payment.AuthorizationURL = checkout.AuthorizationURL
	return payment, setAuthorizationURL(keep, s.deps.Pool, payment.ID, checkout.AuthorizationURL)
}

func (s *Service) initializeFailed(ctx context.Context, payment Payment, cause error) error {
	if !errors.Is(cause, ErrGatewayRefused) {
		s.deps.Log.WarnContext(ctx, "gateway didn't answer an initialize; its outcome will be asked for", "reference", payment.Reference, "error", cause)
		return ErrGatewayDown.WithCause(cause).WithRetryAfter(time.Minute)
	}
	s.deps.Log.ErrorContext(ctx, "gateway refused an initialize", "reference", payment.Reference, "error", cause)
	if err := closeRefused(ctx, s.deps.Pool, payment.ID, s.now()); err != nil {
		return errs.New(errs.Internal, "payment_not_closed", "Something went wrong on our side.").WithCause(errors.Join(err, cause))
	}
	if errors.Is(cause, ErrDuplicateReference) {
		return ErrGatewayDown.WithCause(cause).WithRetryAfter(time.Minute)
	}
	return ErrPaymentRefused.WithCause(cause)
}
