package billing

import (
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// SubscriptionID identifies a subscription.
type SubscriptionID int64

// SubscriptionStatus is how a subscription stands.
type SubscriptionStatus string

// The states of a subscription.
const (
	SubscriptionActive    SubscriptionStatus = "active"    // paid until PeriodEnd, and goes on
	SubscriptionPastDue   SubscriptionStatus = "past_due"  // the period from PeriodEnd on isn't paid
	SubscriptionCancelled SubscriptionStatus = "cancelled" // runs to PeriodEnd, then the client is deleted
	SubscriptionEnded     SubscriptionStatus = "ended"     // the client is gone
)

// Subscription is what one client is paid for, and until when. Everything is asked for again at its end.
type Subscription struct {
	ID            SubscriptionID
	AccountID     accounts.ID
	TenantID      tenants.ID
	TenantName    string
	PlanID        string // that the present period was paid for
	NextPlanID    string // from the next period on; "": as it is
	Cycle         Cycle
	Currency      string
	Mode          string
	Email         string
	Status        SubscriptionStatus
	Anchor        time.Time // its day of the month is every period's
	PeriodStart   time.Time
	PeriodEnd     time.Time
	Authorization int64 // the saved card; 0: none, the owner pays by a link
	Stage         int   // attempts begun for the period after PeriodEnd
	Announced     int   // those that came to nothing and that the owner was told of
	StageAt       *time.Time
	SuspendedAt   *time.Time // by us
	DeletionAt    *time.Time // by us
	CancelledAt   *time.Time
	ReturnedAt    *time.Time // what was paid is with its payer again: nothing is taken until somebody pays by hand
	CreatedAt     time.Time
}

// since is from when on the days to the next step count, when nothing was done yet for the coming period.
func (s Subscription) since() time.Time {
	if s.StageAt == nil {
		return s.PeriodEnd
	}
	return *s.StageAt
}

// term is the latest period that is paid for.
func (s Subscription) term() term {
	return term{anchor: s.Anchor, start: s.PeriodStart, end: s.PeriodEnd, cycle: s.Cycle}
}

// same reports whether nothing has happened between two readings that a step depends on.
func (s Subscription) same(o Subscription) bool {
	equal := func(a, b *time.Time) bool { return a == b || a != nil && b != nil && a.Equal(*b) }
	return s.Status == o.Status && s.PeriodEnd.Equal(o.PeriodEnd) && s.Stage == o.Stage && s.Announced == o.Announced &&
		s.NextPlanID == o.NextPlanID && equal(s.SuspendedAt, o.SuspendedAt) && equal(s.DeletionAt, o.DeletionAt)
}

// Card is what may be shown of a saved card.
type Card struct {
	Brand, Last4, ExpMonth, ExpYear, Bank string
}

// What callers are told about subscriptions.
var (
	ErrNoSubscription     = errs.New(errs.NotFound, "no_subscription", "No active subscription found")
	ErrWhichSubscription  = errs.InvalidField("client_name", "ambiguous", "You have several subscriptions. Say which one with client_name.")
	ErrPaidUp             = errs.New(errs.Conflict, "paid_up", "This client is paid for; the next payment isn't due yet.")
	ErrCancelled          = errs.New(errs.Conflict, "subscription_cancelled", "This subscription is cancelled. Reactivate it first.")
	ErrNotCancelled       = errs.New(errs.Conflict, "not_cancelled", "This subscription isn't cancelled.")
	ErrPayFirst           = errs.New(errs.PaymentRequired, "payment_required", "A payment is due for this client: pay it with POST /api/payments/initialize first.")
	ErrUpgradeUnderWay    = errs.New(errs.Conflict, "upgrade_under_way", "Another charge for this client isn't decided yet. Please try again in a few minutes.")
	ErrDowngradeTooSmall  = errs.New(errs.Conflict, "plan_too_small", "The client uses more than that plan has.")
	ErrBadSubscriptionSet = errs.InvalidField("status", "unknown_status", "status must be active, past_due, cancelled or ended.")
)
