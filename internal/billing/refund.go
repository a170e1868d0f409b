package billing

import (
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// RefundID identifies a refund of ours; the gateway has ids of its own.
type RefundID int64

// RefundState is where a refund is.
type RefundState string

// The states of a refund. Requested is the only one of which the gateway may not know.
const (
	RefundRequested RefundState = "requested"
	RefundPending   RefundState = "pending"
	RefundAttention RefundState = "needs_attention" // waits for the customer's bank details, at the gateway's dashboard
	RefundProcessed RefundState = "processed"
	RefundFailed    RefundState = "failed"
)

// ended reports whether a state is final, but for a refund that we gave up and that turns up at the gateway after all.
func (s RefundState) ended() bool { return s == RefundProcessed || s == RefundFailed }

// RefundOrder is our row of money that is given back, of an administrator's will or because the gateway has it.
type RefundOrder struct {
	ID            RefundID
	PaymentID     PaymentID
	Reference     string
	AccountID     accounts.ID
	TenantID      tenants.ID
	TenantName    string
	AmountKobo    int64
	Currency      string
	State         RefundState
	Reason        string
	RequestedBy   string // "": made at the gateway's dashboard
	Ends          bool   // what the payment paid for ends when the money is back
	ToCredit      bool   // to the customer's credit, not to their bank
	Note          string // by which it is found at the gateway
	GatewayID     int64  // 0: not known there yet
	GatewayStatus RefundStatus
	Error         string // why it failed
	Sends         int
	SentAt        *time.Time
	CreatedAt     time.Time
	AcceptedAt    *time.Time
	CompletedAt   *time.Time
}

// RefundInput says what is to be given back. An amount of 0 means all that is left. What comes back of a payment's credit becomes credit again.
type RefundInput struct {
	Reference  string
	AmountKobo int64
	Reason     string
	End        *bool // whether what it paid for ends with it; nil: when nothing is left of the payment
}

// What those are told who give money back.
var (
	ErrRefundUnknown    = errs.New(errs.NotFound, "refund_not_found", "Refund not found")
	ErrNothingToRefund  = errs.New(errs.Conflict, "nothing_to_refund", "Nothing of this payment is left to give back, or it was never paid.")
	ErrRefundRunning    = errs.New(errs.Conflict, "refund_running", "A refund of this payment is on its way to the gateway. Wait until it is known there.")
	ErrRefundRepeated   = errs.New(errs.Conflict, "refund_repeated", "This very refund was made already. If another one is meant, give another reason.")
	ErrRefundTooMuch    = errs.InvalidField("amount_kobo", "too_much", "That is more than is left of the payment.")
	ErrRefundWhole      = errs.InvalidField("amount_kobo", "not_in_part", "What was paid from credit goes back as a whole: leave amount_kobo out.")
	ErrRefundNegative   = errs.InvalidField("amount_kobo", "too_small", "amount_kobo must be 1 or more; leave it out to give back all that is left.")
	ErrRefundReason     = errs.InvalidField("reason", "required", "Say why, in 1 to 500 characters.")
	ErrRefundWrongMode  = errs.New(errs.Conflict, "wrong_mode", "This payment was made in the gateway's other mode.")
	ErrCreditNotFound   = errs.New(errs.NotFound, "credit_not_found", "Credit not found")
	ErrCreditDecided    = errs.New(errs.Conflict, "credit_decided", "It is decided already what becomes of this money.")
	ErrDifferenceGone   = errs.New(errs.NotFound, "difference_not_found", "There is no such open difference.")
	ErrExplanationEmpty = errs.InvalidField("note", "required", "Say what explains it, in 1 to 500 characters.")
)
