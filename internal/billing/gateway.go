package billing

import (
	"context"
	"errors"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/secrets"
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
	// ChargeAuthorization takes money from a card that paid before. A decline is no error: it is a Transaction that failed. After an
	// unknown outcome only Verify tells; an ErrGatewayRefused created nothing, so that the reference stays free.
	ChargeAuthorization(ctx context.Context, r ChargeRequest) (Transaction, error)
	// Transactions returns a page of all transactions of our mode, newest first.
	Transactions(ctx context.Context, f TransactionFilter) (TransactionPage, error)
	// Refund asks for money to be given back. The gateway knows no key for it: asking twice gives back twice, so that after an unknown
	// outcome only Refunds tells, by the MerchantNote.
	Refund(ctx context.Context, r RefundRequest) (Refund, error)
	// Refunds returns every refund of one transaction, by the gateway's id of it.
	Refunds(ctx context.Context, transactionID int64) ([]Refund, error)
	// RefundsBetween returns a page of all refunds of our mode.
	RefundsBetween(ctx context.Context, f RefundFilter) (RefundPage, error)
	// RefundByID returns the present state of one refund, or ErrRefundNotFound.
	RefundByID(ctx context.Context, id int64) (Refund, error)
	// Disputes returns a page of the disputes that customers' banks opened.
	Disputes(ctx context.Context, f DisputeFilter) (DisputePage, error)
	// Dispute returns the present state of one dispute, or ErrDisputeNotFound.
	Dispute(ctx context.Context, id int64) (Dispute, error)
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
	// ErrAuthorizationUnusable is an ErrGatewayRefused because the saved card is gone, not reusable or of another customer: charging it
	// again is of no use.
	ErrAuthorizationUnusable = errors.New("the gateway can't charge this authorization")
	// ErrAlreadyRefunded is an ErrGatewayRefused because nothing of the transaction is left to give back.
	ErrAlreadyRefunded = errors.New("the transaction is refunded in full already")
	// ErrRefundNotFound means that the gateway doesn't know the refund.
	ErrRefundNotFound = errors.New("the gateway doesn't know this refund")
	// ErrDisputeNotFound means that the gateway doesn't know the dispute.
	ErrDisputeNotFound = errors.New("the gateway doesn't know this dispute")
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
	CreatedAt       *time.Time
	Authorization   Authorization // zero until it is paid
	// ChallengeURL is where the customer has to approve a charge that is held up for it; the status is GatewayOngoing then. Verify never
	// returns it.
	ChallengeURL string
}

// Authorization is a card as the gateway saved it. Each use may mint a new Code; the Signature stays the card's.
type Authorization struct {
	Code      secrets.Secret // "": nothing was saved
	Reusable  bool           // as of the payment; it stays true after a deactivation
	Email     string         // only with this one it can be charged
	Signature string         // "" for mobile money
	Last4     string
	Brand     string
	ExpMonth  string
	ExpYear   string
	Bank      string
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

// ChargeRequest is money to be taken from a saved card.
type ChargeRequest struct {
	Reference         string
	Email             string // the Authorization's
	AmountKobo        int64
	Currency          string
	AuthorizationCode secrets.Secret
	Metadata          Metadata
}

// TransactionFilter chooses a page of transactions by when they were made; zero times don't bound.
type TransactionFilter struct {
	From, To time.Time
	Status   GatewayStatus // "": every one
	Cursor   string        // TransactionPage.Next of the page before
}

// TransactionPage is some transactions; there are more when Next isn't "".
type TransactionPage struct {
	Transactions []Transaction
	Next         string
}

// RefundRequest is money to be given back.
type RefundRequest struct {
	TransactionID int64
	AmountKobo    int64 // always said: the gateway's default is the whole amount
	Currency      string
	MerchantNote  string // customers don't see it; put our own id of the refund here
}

// Refund is money given back, as the gateway sees it. A field that the gateway left out is zero.
type Refund struct {
	ID            int64
	TransactionID int64
	Reference     string // of the transaction; "" where the gateway sends only its id
	Mode          string
	Status        RefundStatus
	AmountKobo    int64
	Currency      string
	MerchantNote  string
	CreatedAt     *time.Time
}

// RefundFilter chooses a page of refunds by when they were made; zero times don't bound.
type RefundFilter struct {
	From, To time.Time
	Cursor   string // RefundPage.Next of the page before
}

// RefundPage is some refunds; there are more when Next isn't "".
type RefundPage struct {
	Refunds []Refund
	Next    string
}

// RefundStatus is how far a refund is, in the gateway's words; the set is open.
type RefundStatus string

// The statuses that mean something to us. Any other one is waited for.
const (
	GatewayRefundPending        RefundStatus = "pending"
	GatewayRefundProcessing     RefundStatus = "processing"
	GatewayRefundProcessed      RefundStatus = "processed"
	GatewayRefundFailed         RefundStatus = "failed"          // the money is ours again, the transaction a success
	GatewayRefundNeedsAttention RefundStatus = "needs-attention" // waits for the customer's bank details, at the gateway's dashboard
)

// DisputeFilter chooses a page of disputes; zero values don't bound.
type DisputeFilter struct {
	From, To      time.Time
	Status        DisputeStatus
	TransactionID int64
	Cursor        string // DisputePage.Next of the page before
}

// DisputePage is some disputes; there are more when Next isn't "".
type DisputePage struct {
	Disputes []Dispute
	Next     string
}

// Dispute is a bank's demand to have a payment back.
type Dispute struct {
	ID                int64
	TransactionID     int64
	Reference         string // of the transaction
	TransactionStatus GatewayStatus
	Mode              string
	Status            DisputeStatus
	Resolution        string // "merchant-accepted", "declined", "auto-accepted"; "" until resolved. An open set
	Category          string // "chargeback", "fraud", …
	AmountKobo        int64  // what the bank wants back
	Currency          string
	DueAt             *time.Time // silence until then loses it
	ResolvedAt        *time.Time
	CreatedAt         *time.Time
}

// DisputeStatus is whose turn it is, in the gateway's words; the set is open.
type DisputeStatus string

// The statuses that mean something to us. Any other one is an open dispute.
const (
	DisputeAwaitingMerchant DisputeStatus = "awaiting-merchant-feedback"
	DisputeAwaitingBank     DisputeStatus = "awaiting-bank-feedback"
	DisputePending          DisputeStatus = "pending"
	DisputeResolved         DisputeStatus = "resolved"
)

// Event is a delivered webhook, reduced to what is needed to file it. It is a hint: what it says is asked again before it counts.
type Event struct {
	Name      string // "charge.success"
	Key       string // the same for every delivery of one event; derived, as the gateway sends no id
	Mode      string // "" when the event doesn't say
	Reference string // our transaction reference, or "" when the event isn't about one
}
