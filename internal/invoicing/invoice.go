// Package invoicing writes the papers for the money: invoices and credit notes with gapless numbers, the tax in them, the PDF, and the
// profile with which a customer is named on them. Issuing is part of the caller's transaction and posts to the ledger; what is issued is
// never changed, only credited. It asks nobody for money.
package invoicing

import (
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/ledger"
	"controlplane/internal/tenants"
)

// ID identifies an invoice or credit note.
type ID int64

// Party is one side of an invoice, as of the day of issue.
type Party struct {
	Name    string `json:"name"`
	Address string `json:"address"` // lines
	Country string `json:"country"` // ISO 3166, "NG"
	TaxID   string `json:"tax_id"`
	Email   string `json:"email"`
}

// Draft is what is to be invoiced. Amounts include the tax, as they are charged; see Service.Charge.
type Draft struct {
	Key         string // names what is invoiced ("payment/ODOO-1"): a second Draft of the same key is answered with the first one's invoice
	Mode        ledger.Mode
	AccountID   accounts.ID
	TenantID    tenants.ID
	PaymentID   int64
	Reference   string    // the payment's, as the customer knows it
	PeriodStart time.Time // what is paid for: the first and the last day; zero: no period
	PeriodEnd   time.Time
	Currency    string
	CreditKobo  int64 // of the sum, paid from the customer's credit
	Lines       []DraftLine
}

// DraftLine is one thing that is sold.
type DraftLine struct {
	Description string
	Quantity    int
	GrossKobo   int64 // of all of them together
}

// CreditDraft takes back an invoice or a part of one.
type CreditDraft struct {
	Key       string // names what is credited ("refund/17")
	InvoiceID ID
	GrossKobo int64
	Reason    string // shown to the customer
}

// Invoice is an invoice or, with Credits, a credit note. Amounts are never negative: what a credit note states is given back.
type Invoice struct {
	ID             ID
	Number         string // "INV-2026-000001"
	Credits        string // the number of the invoice that this credit note takes from; "" for an invoice
	Key            string
	Series         string
	AccountID      accounts.ID
	TenantID       tenants.ID
	PaymentID      int64
	Reference      string
	Reason         string
	IssuedAt       time.Time
	PeriodStart    *time.Time
	PeriodEnd      *time.Time
	Currency       string
	TaxName        string
	TaxBasisPoints int64
	TaxNote        string // why the tax isn't the seller's usual one; ""
	NetKobo        int64
	TaxKobo        int64
	GrossKobo      int64
	CreditKobo     int64 // of GrossKobo, paid from the customer's credit
	Seller         Party
	Buyer          Party
	Lines          []Line
}

// Line is one line of an Invoice.
type Line struct {
	Description string
	Quantity    int
	NetKobo     int64
	TaxKobo     int64
	GrossKobo   int64
}

// Mode returns the books that the invoice is in.
func (i Invoice) Mode() ledger.Mode {
	if i.Series == seriesTest || i.Series == seriesTestCredit {
		return ledger.Test
	}
	return ledger.Live
}

// The series of numbers. Play money has its own, so that real invoices stay gapless.
const (
	seriesLive       = "INV"
	seriesLiveCredit = "CN"
	seriesTest       = "TEST"
	seriesTestCredit = "TESTCN"
)

func seriesOf(mode ledger.Mode, credit bool) string {
	switch {
	case mode == ledger.Live && credit:
		return seriesLiveCredit
	case mode == ledger.Live:
		return seriesLive
	case credit:
		return seriesTestCredit
	}
	return seriesTest
}

// What callers are told.
var (
	ErrNotFound   = errs.New(errs.NotFound, "invoice_not_found", "Invoice not found")
	ErrPageBounds = errs.InvalidField("limit", "out_of_range", "skip must be 0 or more, and limit from 1 to 1000.")
	// ErrCreditTooLarge means that less than the amount is left of the invoice.
	ErrCreditTooLarge = errs.New(errs.Conflict, "credit_too_large", "More than the invoice's rest can't be credited.")
	// ErrBadDraft is a mistake of ours: a draft without a key, a mode, lines or amounts.
	ErrBadDraft = errs.New(errs.Internal, "invoice_draft", "Something went wrong on our side.")
)
