package billing

import (
	"context"
	"errors"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

// Gateway is the payment provider as this package needs it. Implementations bound every call in time themselves (at most 15 s,
// repeats included) and never put a key into an error. Errors other than the sentinels below mean "outcome unknown".
type Gateway interface {
	// Initialize creates a transaction under our reference. It is never repeated blindly: after an unknown outcome the reference
	// may or may not exist there.
	Initialize(ctx context.Context, r InitializeRequest) (Checkout, error)
	// Verify returns the present state of one transaction, or ErrTransactionNotFound.
	Verify(ctx context.Context, reference string) (Transaction, error)
	// VerifySignature reports whether signature was made over exactly these bytes with one of our keys, in constant time.
	VerifySignature(body []byte, signature string) bool
	// DecodeEvent reads a delivered event as far as it is understood. An error means that the body isn't an event at all.
	DecodeEvent(body []byte) (Event, error)
	// Mode is "test" or "live", from the key.
	Mode() string
}

// Errors that a Gateway tells apart.
var (
	// ErrTransactionNotFound means that the gateway doesn't know the reference (yet: it may still be in flight).
	ErrTransactionNotFound = errors.New("the gateway doesn't know this transaction")
	// ErrGatewayRefused means that the gateway answered and created nothing.
	ErrGatewayRefused = errors.New("the gateway refused the request")
	// ErrDuplicateReference is an ErrGatewayRefused because the reference is taken there.
	ErrDuplicateReference = errors.New("the gateway knows this reference already")
)

// InitializeRequest is a purchase to be paid on the gateway's own page.
type InitializeRequest struct {
	Reference   string
	Email       string
	AmountKobo  int64
	Currency    string
	CallbackURL string // where the browser goes afterwards; without a query
	Metadata    Metadata
}

// Metadata travels with a transaction for people who look at the gateway's dashboard; nothing is decided by it.
type Metadata struct {
	AccountID    accounts.ID
	TenantID     tenants.ID
	TenantName   string
	PlanID       string
	BillingCycle Cycle
}

// Checkout is where the customer pays.
type Checkout struct {
	AuthorizationURL string // opaque
	AccessCode       string
	Reference        string
}

// Transaction is a payment as the gateway sees it. A field that the gateway left out is zero, so that it can't match our row.
type Transaction struct {
	ID              int64 // beyond 32 bits
	Reference       string
	Mode            string // "test" or "live"
	Status          GatewayStatus
	AmountKobo      int64 // what the customer paid
	RequestedKobo   int64 // what we asked for
	FeesKobo        *int64
	Currency        string
	Channel         string
	GatewayResponse string // for the log
	PaidAt          *time.Time
}

// GatewayStatus is the outcome of a transaction in the gateway's words; the set is open.
type GatewayStatus string

// The statuses that mean something to us. Any other one is waited for.
const (
	GatewaySuccess         GatewayStatus = "success"
	GatewayAbandoned       GatewayStatus = "abandoned" // not completed; not final
	GatewayFailed          GatewayStatus = "failed"
	GatewayOngoing         GatewayStatus = "ongoing"
	GatewayPending         GatewayStatus = "pending"
	GatewayProcessing      GatewayStatus = "processing"
	GatewayQueued          GatewayStatus = "queued"
	GatewayReversed        GatewayStatus = "reversed"
	GatewayReversalPending GatewayStatus = "reversal-pending"
)

// Event is a delivered webhook, reduced to what is needed to file it. It is a hint: what it says is asked again before it counts.
type Event struct {
	Name      string // "charge.success"
	Key       string // the same for every delivery of one event; derived, as the gateway sends no id
	Mode      string // "" when the event doesn't say
	Reference string // our transaction reference, or "" when the event isn't about one
}
