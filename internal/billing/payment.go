// Package billing turns money into running clients: payments, the gateway that it declares, webhook events and the one idempotent
// routine that applies what the gateway says, with their SQL. It knows nothing of HTTP; paystack is the adapter.
package billing

import (
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// PaymentID identifies a payment.
type PaymentID int64

// Cycle is how long a payment lasts.
type Cycle string

// The billing cycles.
const (
	Monthly Cycle = "monthly"
	Annual  Cycle = "annual"
)

// Status is where a payment is, as the contract names it.
type Status string

// The states of a payment. Failed isn't final: a customer may come back to an open checkout page and pay after all.
const (
	StatusPending  Status = "pending"
	StatusSuccess  Status = "success"
	StatusFailed   Status = "failed"
	StatusRefunded Status = "refunded"
)

// Purpose is what a paid payment was used for.
type Purpose string

// A payment is made to activate a client, to pay for its next period, or for the rest of one on a larger plan; one that comes second is
// kept as a credit.
const (
	PurposeActivation Purpose = "activation"
	PurposeCredit     Purpose = "credit"
	PurposeRenewal    Purpose = "renewal"
	PurposeUpgrade    Purpose = "upgrade"
)

// Payment is one reference at the gateway. Several may be open for one purchase; at most one of them activates the client.
type Payment struct {
	ID               PaymentID
	AccountID        accounts.ID
	TenantID         tenants.ID
	TenantName       string
	PlanID           string
	BillingCycle     Cycle
	AmountKobo       int64 // what the gateway is asked for; 0 when credit pays all
	CreditKobo       int64 // what comes from the account's credit on top
	Currency         string
	Mode             string // "test" or "live", of the key that it was made with
	Email            string
	Reference        string
	AuthorizationURL string // "" when the gateway's answer was lost
	Status           Status
	Purpose          Purpose
	Review           string // why a person has to look; "" mostly
	GatewayStatus    GatewayStatus
	RefundedKobo     int64 // what went back of it so far
	ReceivedKobo     int64 // of one that is parked: what was paid; 0 otherwise
	CreatedAt        time.Time
	PaidAt           *time.Time // as the gateway says
	CompletedAt      *time.Time // when we learnt of it

	// Of renewals and upgrades.
	SubscriptionID SubscriptionID
	PeriodStart    time.Time // what it pays for; of an upgrade the period of which it pays the rest
	PeriodEnd      time.Time
	FromPlanID     string // of an upgrade; PlanID is the new one
	Charged        bool   // taken from a saved card; nobody goes to a checkout
	Attempt        int    // of a renewal, from 1; 0: the owner's own doing
}

// TotalKobo is what the payment is worth.
func (p Payment) TotalKobo() int64 { return p.AmountKobo + p.CreditKobo }

// Credit is money that was paid and activated nothing.
type Credit struct {
	ID         int64
	AccountID  accounts.ID
	PaymentID  PaymentID
	Reference  string
	TenantName string
	AmountKobo int64
	UsedKobo   int64 // of it, for other payments
	Currency   string
	Reason     string
	Resolution string // "refunded" or "kept", which is spent on what comes next; "" while somebody has to decide
	CreatedAt  time.Time
}

// What callers are told. The gateway's own words never get into these.
var (
	ErrPaymentNotFound = errs.New(errs.NotFound, "payment_not_found", "Payment not found")
	ErrBadSignature    = errs.New(errs.Unauthenticated, "bad_signature", "The signature is missing or wrong.")
	ErrInvalidPlan     = errs.New(errs.Malformed, "invalid_plan", "Invalid plan selected")
	ErrInvalidCycle    = errs.InvalidField("billing_cycle", "unknown", "billing_cycle must be monthly or annual.")
	ErrNoUnpaidClient  = errs.InvalidField("client_name", "required", "You have no unpaid client of this plan. Create one first, or say which with client_name.")
	ErrWhichClient     = errs.InvalidField("client_name", "ambiguous", "You have several unpaid clients of this plan. Say which one with client_name.")
	ErrPlanMismatch    = errs.New(errs.Conflict, "plan_mismatch", "This client has another plan. Change the client's plan first.")
	ErrNotPayable      = errs.New(errs.Conflict, "not_pending", "This client isn't waiting for a payment.")
	ErrGatewayDown     = errs.New(errs.Unavailable, "gateway_unavailable", "The payment service can't be reached right now. Please try again in a minute.")
	ErrPaymentRefused  = errs.New(errs.Invalid, "payment_refused", "The payment service didn't accept the request. Check your account's e-mail address, or contact support.")
	ErrEventsDown      = errs.New(errs.Unavailable, "events_unavailable", "The event can't be stored right now. Please deliver it again.")
	ErrAdminOnly       = errs.New(errs.Forbidden, "admin_only", "Admin access required")
	ErrPageOutOfBounds = errs.InvalidField("limit", "out_of_range", "skip must be 0 or more, and limit from 1 to 1000.")
)
