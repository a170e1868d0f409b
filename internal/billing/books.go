package billing

import (
	"context"
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
		Lines:      []invoicing.DraftLine{{Description: what.Description, Quantity: 1, GrossKobo: p.TotalKobo()}},
		CreditKobo: p.CreditKobo,
	})
	if err != nil {
		return fmt.Errorf("invoice payment %s: %w", p.Reference, err)
	}
	if p.CreditKobo > 0 {
		spent := ledger.Move(ledger.Credit(p.AccountID), ledger.Receivable(p.AccountID), p.CreditKobo, p.Currency)
		if err := ledger.PostTx(ctx, tx, s.entry(p, t, "/credit", "credit_spent", spent)); err != nil {
			return err
		}
	}
	if p.AmountKobo == 0 {
		return nil
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

// bookFeeTx posts what the gateway kept, as soon as it says so, and when it says something else later on the difference, so that the books
// have what it said last. The caller holds the payment's row.
func (s *Service) bookFeeTx(ctx context.Context, tx pgx.Tx, p Payment, t Transaction) error {
	if t.FeesKobo == nil || *t.FeesKobo < 0 {
		return nil
	}
	booked, times, err := bookedFee(ctx, tx, p)
	if err != nil {
		return err
	}
	more := *t.FeesKobo - booked
	if more == 0 {
		return noteFee(ctx, tx, p.ID, *t.FeesKobo)
	}
	e := s.entry(p, t, "/fee", "fee", nil)
	if times > 0 {
		s.deps.Log.WarnContext(ctx, "the gateway changed its fee", "reference", p.Reference, "before_kobo", booked, "fees_kobo", *t.FeesKobo)
		e.Key, e.Kind, e.At = fmt.Sprintf("%s/%d", e.Key, times+1), "fee_correction", s.now()
	}
	if e.Lines = ledger.Move(ledger.Fees, ledger.Gateway, more, p.Currency); more < 0 {
		e.Lines = ledger.Move(ledger.Gateway, ledger.Fees, -more, p.Currency)
	}
	if err := ledger.PostTx(ctx, tx, e); err != nil {
		return err
	}
	return noteFee(ctx, tx, p.ID, *t.FeesKobo)
}

// bookedFee is what the books have as a payment's fee, and in how many entries.
func bookedFee(ctx context.Context, tx pgx.Tx, p Payment) (kobo int64, entries int, err error) {
	err = tx.QueryRow(ctx, `
		SELECT coalesce(sum(l.debit_kobo - l.credit_kobo), 0)::bigint, count(DISTINCT e.id)
		FROM ledger_entries e JOIN ledger_lines l ON l.entry_id = e.id JOIN ledger_accounts a ON a.id = l.ledger_account_id
		WHERE e.payment_id = $1 AND e.mode = $2 AND a.name = $3`, p.ID, p.Mode, ledger.Fees).Scan(&kobo, &entries)
	if err != nil {
		return 0, 0, fmt.Errorf("read the booked fee of %s: %w", p.Reference, err)
	}
	return kobo, entries, nil
}

// noteFee keeps beside the payment what the gateway said last.
func noteFee(ctx context.Context, tx pgx.Tx, id PaymentID, kobo int64) error {
	return exec(ctx, tx, "note the fee", `UPDATE payments SET fees_kobo = $2 WHERE id = $1 AND fees_kobo IS DISTINCT FROM $2`, id, kobo)
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
	what, err := saleOf(ctx, tx, p)
	if err != nil {
		return err
	}
	return s.bookSaleTx(ctx, tx, p, t, what)
}
