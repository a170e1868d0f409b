package billing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
)

// sale is what a payment buys, as its invoice says it. A sale without a period has zero times.
type sale struct {
	Description string
	PeriodStart time.Time // the first day
	PeriodEnd   time.Time // the last day
}

// bookSaleTx invoices what a payment of ours buys and posts invoice, payment and fee. Everybody else who issues an invoice waits from
// here to the end of tx, so it comes last.
func (s *Service) bookSaleTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, what sale) error {
	_, err := s.deps.Invoices.IssueTx(ctx, tx, invoicing.Draft{
		Key: "payment/" + p.Reference, Mode: ledger.Mode(p.Mode), AccountID: p.AccountID, TenantID: p.TenantID, PaymentID: int64(p.ID),
		Reference: p.Reference, PeriodStart: what.PeriodStart, PeriodEnd: what.PeriodEnd, Currency: p.Currency,
		Lines: []invoicing.DraftLine{{Description: what.Description, Quantity: 1, GrossKobo: p.AmountKobo}},
	})
	if err != nil {
		return fmt.Errorf("invoice payment %s: %w", p.Reference, err)
	}
	return s.bookPaymentTx(ctx, tx, p, t, ledger.Receivable(p.AccountID))
}

// bookCreditTx posts money that bought nothing: the customer has it with us.
func (s *Service) bookCreditTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) error {
	return s.bookPaymentTx(ctx, tx, p, t, ledger.Credit(p.AccountID))
}

func (s *Service) bookPaymentTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction, from ledger.Account) error {
	if err := ledger.PostTx(ctx, tx, s.entry(p, t, "", "payment", ledger.Move(ledger.Gateway, from, p.AmountKobo, p.Currency))); err != nil {
		return err
	}
	return s.bookFeeTx(ctx, tx, p, t)
}

// bookFeeTx posts what the gateway kept, as soon as it says so. A fee that changes afterwards is for reconciliation to show.
func (s *Service) bookFeeTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) error {
	if t.FeesKobo == nil || *t.FeesKobo <= 0 {
		return nil
	}
	err := ledger.PostTx(ctx, tx, s.entry(p, t, "/fee", "fee", ledger.Move(ledger.Fees, ledger.Gateway, *t.FeesKobo, p.Currency)))
	if errors.Is(err, ledger.ErrKeyReused) {
		s.deps.Log.WarnContext(ctx, "the gateway changed its fee", "reference", p.Reference, "fees_kobo", *t.FeesKobo)
		return nil
	}
	return err
}

func (s *Service) entry(p Payment, t Transaction, suffix, kind string, lines []ledger.Line) ledger.Entry {
	at := s.now()
	if t.PaidAt != nil {
		at = *t.PaidAt
	}
	return ledger.Entry{
		Key: "payment/" + p.Reference + suffix, Mode: ledger.Mode(p.Mode), At: at, Kind: kind, AccountID: p.AccountID, TenantID: p.TenantID,
		PaymentID: int64(p.ID), Memo: p.Reference, Lines: lines,
	}
}

// activation describes what a first payment buys.
func activation(ctx context.Context, tx pgx.Tx, p Payment) (sale, error) {
	var plan string
	if err := tx.QueryRow(ctx, `SELECT name FROM plans WHERE id = $1`, p.PlanID).Scan(&plan); err != nil {
		return sale{}, fmt.Errorf("read the plan's name: %w", err)
	}
	return sale{Description: fmt.Sprintf("Odoo hosting, plan %s (%s), client %s", plan, p.BillingCycle, p.TenantName)}, nil
}

// bookActivationTx books a payment that activates its client.
func (s *Service) bookActivationTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) error {
	what, err := activation(ctx, tx, p)
	if err != nil {
		return err
	}
	return s.bookSaleTx(ctx, tx, p, t, what)
}
