// Package ledger keeps the books: double entry, append-only, integer kobo. Whoever moves money posts what moved in the same transaction;
// the database refuses an entry that doesn't balance, and any change to what is posted. It judges nothing: what an entry means is
// decided by those who post it.
package ledger

import (
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// Account is a place where money is. Debits add to assets and expenses, credits to liabilities and income.
type Account string

// The chart of accounts; customers have a Receivable and a Credit each.
const (
	Gateway          Account = "gateway"            // asset: what the gateway holds for us
	Fees             Account = "fees"               // expense: what the gateway keeps
	Revenue          Account = "revenue"            // income: what was sold, without tax
	VAT              Account = "vat"                // liability: tax that we owe the state
	RefundsInTransit Account = "refunds_in_transit" // liability: asked for, not yet gone from the gateway
	Disputes         Account = "disputes"           // asset: what banks have claimed back and nobody has decided
	WriteOffs        Account = "write_offs"         // expense: what nobody will pay any more
	Suspense         Account = "suspense"           // liability: money that came in and that nobody can explain yet
)

// Receivable is what a customer owes us (an asset).
func Receivable(id accounts.ID) Account { return Account("receivable/" + id.String()) }

// Credit is a customer's money that we hold (a liability).
func Credit(id accounts.ID) Account { return Account("credit/" + id.String()) }

// Mode says which of the two sets of books is meant, in the gateway's words.
type Mode string

// Play money and real money never meet.
const (
	Test Mode = "test"
	Live Mode = "live"
)

// Entry is one event. Key names the event ("payment/ODOO-1", "refund/17"): a second entry of the same key is the same event, posted
// again. AccountID, TenantID and PaymentID are for finding it, and may be 0.
type Entry struct {
	Key       string
	Mode      Mode
	At        time.Time // when it happened, not when it is posted
	Kind      string    // "invoice", "payment", "fee", …
	AccountID accounts.ID
	TenantID  tenants.ID
	PaymentID int64
	Memo      string
	Lines     []Line
}

// Line is one side of an Entry: either a debit or a credit.
type Line struct {
	Account    Account
	DebitKobo  int64
	CreditKobo int64
	Currency   string
}

// Move returns the two lines that take amount from one account to another: a debit of to, a credit of from.
func Move(to, from Account, amountKobo int64, currency string) []Line {
	return []Line{
		{Account: to, DebitKobo: amountKobo, Currency: currency},
		{Account: from, CreditKobo: amountKobo, Currency: currency},
	}
}

// What posters are told; each is a mistake of ours, not of a user.
var (
	// ErrUnbalanced means that an entry's debits and credits differ in some currency, or that it isn't an entry at all.
	ErrUnbalanced = errs.New(errs.Internal, "ledger_unbalanced", "Something went wrong on our side.")
	// ErrKeyReused means that the key is posted already, with other lines.
	ErrKeyReused = errs.New(errs.Internal, "ledger_key_reused", "Something went wrong on our side.")
)
