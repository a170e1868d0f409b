package billing

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
	"controlplane/internal/postgres"
)

// holder is the account in which the money of a payment is, seen from the customer: what it settled, what we hold for them, or nobody's.
func holder(p Payment) ledger.Account {
	switch {
	case p.ReceivedKobo > 0:
		return ledger.Suspense
	case p.Purpose == PurposeCredit:
		return ledger.Credit(p.AccountID)
	}
	return ledger.Receivable(p.AccountID)
}

// move posts that money of a payment went from one account to another, once for each key.
func (s *Service) move(ctx context.Context, tx pgx.Tx, p Payment, key, kind string, to, from ledger.Account, kobo int64) error {
	return ledger.PostTx(ctx, tx, ledger.Entry{
		Key: key, Mode: ledger.Mode(p.Mode), At: s.now(), Kind: kind, AccountID: p.AccountID, TenantID: p.TenantID, PaymentID: int64(p.ID),
		Memo: p.Reference, Lines: ledger.Move(to, from, kobo, p.Currency),
	})
}

// bookRefundTx posts a refund when the gateway takes it on, and when it ends.
func (s *Service) bookRefundTx(ctx context.Context, tx pgx.Tx, p Payment, before, after RefundOrder) error {
	key := fmt.Sprintf("refund/%d", after.ID)
	accepted := before.AcceptedAt != nil && before.State != RefundFailed
	switch {
	case after.State == RefundFailed && !accepted:
		return nil // it never left
	case after.State == RefundFailed:
		return s.move(ctx, tx, p, key+"/failed", "refund_failed", ledger.RefundsInTransit, holder(p), before.AmountKobo)
	case before.State == RefundFailed && after.AcceptedAt == before.AcceptedAt:
		key += "/after_all"
	}
	if after.State == RefundProcessed { // whoever issues papers does so before anything else is posted
		if err := s.creditNoteTx(ctx, tx, p, key, after.AmountKobo, after.Reason); err != nil {
			return err
		}
	}
	if !accepted {
		if err := s.move(ctx, tx, p, key, "refund", holder(p), ledger.RefundsInTransit, after.AmountKobo); err != nil {
			return err
		}
	}
	if after.State != RefundProcessed {
		return nil
	}
	return s.move(ctx, tx, p, key+"/processed", "refund_processed", ledger.RefundsInTransit, ledger.Gateway, after.AmountKobo)
}

// bookCreditBackTx posts that a payment's credit is the customer's again.
func (s *Service) bookCreditBackTx(ctx context.Context, tx pgx.Tx, p Payment, order RefundOrder) error {
	key := fmt.Sprintf("refund/%d", order.ID)
	if err := s.creditNoteTx(ctx, tx, p, key, order.AmountKobo, order.Reason); err != nil {
		return err
	}
	return s.move(ctx, tx, p, key, "credit_returned", ledger.Receivable(p.AccountID), ledger.Credit(p.AccountID), order.AmountKobo)
}

// creditNoteTx takes back what was invoiced for a payment, if anything was.
func (s *Service) creditNoteTx(ctx context.Context, tx pgx.Tx, p Payment, key string, kobo int64, reason string) error {
	if holder(p) != ledger.Receivable(p.AccountID) {
		return nil
	}
	var invoice invoicing.ID
	err := tx.QueryRow(ctx, `SELECT id FROM invoices WHERE payment_id = $1 AND credits_id IS NULL ORDER BY id LIMIT 1`, p.ID).Scan(&invoice)
	if postgres.NoRows(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the invoice of payment %s: %w", p.Reference, err)
	}
	_, err = s.deps.Invoices.CreditNoteTx(ctx, tx, invoicing.CreditDraft{Key: key, InvoiceID: invoice, GrossKobo: kobo, Reason: reason})
	return err
}

// bookReversalTx posts money that is gone and of which nobody knows why. What was never applied was never posted.
func (s *Service) bookReversalTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	switch {
	case p.ReceivedKobo > 0:
		return s.move(ctx, tx, p, "reversal/"+p.Reference, "reversal", ledger.Suspense, ledger.Gateway, p.ReceivedKobo)
	case p.Status == StatusSuccess:
		return s.move(ctx, tx, p, "reversal/"+p.Reference, "reversal", ledger.Suspense, ledger.Gateway, p.AmountKobo)
	}
	return nil
}

func (s *Service) bookExplainedTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	kobo := p.AmountKobo
	if p.ReceivedKobo > 0 {
		kobo = p.ReceivedKobo
	}
	return s.move(ctx, tx, p, "reversal/"+p.Reference+"/explained", "reversal_explained", ledger.Gateway, ledger.Suspense, kobo)
}

func (s *Service) bookParkedTx(ctx context.Context, tx pgx.Tx, p Payment, kobo int64) error {
	return s.move(ctx, tx, p, "parked/"+p.Reference, "parked", ledger.Gateway, ledger.Suspense, kobo)
}

func (s *Service) bookUnparkedTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	return s.move(ctx, tx, p, "parked/"+p.Reference+"/taken", "parked_taken", ledger.Suspense, ledger.Gateway, p.ReceivedKobo)
}

// bookTakenTx is for what went back of a payment while it was parked, now that it has been taken up: it went from what it has become.
func (s *Service) bookTakenTx(ctx context.Context, tx pgx.Tx, reference string) error {
	p, err := lockPayment(ctx, tx, reference)
	if err != nil {
		return err
	}
	refunds, err := refundsOf(ctx, tx, p.ID)
	if err != nil {
		return err
	}
	for _, o := range refunds {
		if o.AcceptedAt == nil || o.State == RefundFailed || o.ToCredit {
			continue
		}
		key := fmt.Sprintf("refund/%d", o.ID)
		if o.State == RefundProcessed {
			if err := s.creditNoteTx(ctx, tx, p, key, o.AmountKobo, o.Reason); err != nil {
				return err
			}
		}
		if err := s.move(ctx, tx, p, key+"/taken", "refund_taken", holder(p), ledger.Suspense, o.AmountKobo); err != nil {
			return err
		}
	}
	disputes, err := queryDisputes(ctx, tx, `WHERE d.payment_id = $1 AND d.outcome = 'lost'`, p.ID)
	if err != nil {
		return err
	}
	for _, d := range disputes {
		lost := min(d.AmountKobo, d.ClaimedKobo)
		if err := s.move(ctx, tx, p, fmt.Sprintf("dispute/%d/taken", d.ID), "dispute_taken", ledger.WriteOffs, ledger.Suspense, lost); err != nil {
			return err
		}
	}
	return nil
}

// bookLossTx posts what a bank has got. Money that nobody had taken up is nobody's any more, what is left of a credit isn't the customer's
// any more, and the rest is our loss.
func (s *Service) bookLossTx(ctx context.Context, tx pgx.Tx, p Payment, key string, kobo int64) error {
	unused, err := unusedKobo(ctx, tx, p)
	if err != nil {
		return err
	}
	unused = min(unused, kobo)
	if unused > 0 {
		if err := s.move(ctx, tx, p, key+"/unused", "dispute_lost", holder(p), ledger.Disputes, unused); err != nil {
			return err
		}
	}
	if unused == kobo {
		return nil
	}
	return s.move(ctx, tx, p, key, "dispute_lost", ledger.WriteOffs, ledger.Disputes, kobo-unused)
}

// unusedKobo is what the books still hold of a payment that has paid for nothing.
func unusedKobo(ctx context.Context, tx pgx.Tx, p Payment) (int64, error) {
	var kobo int64
	switch {
	case p.ReceivedKobo > 0:
		kobo = p.ReceivedKobo
	case p.Purpose == PurposeCredit:
		kobo = p.AmountKobo
	default:
		return 0, nil
	}
	var gone int64
	err := tx.QueryRow(ctx, `
		SELECT (SELECT coalesce(sum(used_kobo), 0) FROM credits WHERE payment_id = $1)
			+ (SELECT coalesce(sum(amount_kobo), 0) FROM refunds WHERE payment_id = $1 AND state <> 'failed' AND accepted_at IS NOT NULL AND NOT to_credit)`,
		p.ID).Scan(&gone)
	if err != nil {
		return 0, fmt.Errorf("add up what was used of payment %s: %w", p.Reference, err)
	}
	return max(0, kobo-gone), nil
}

// bookDisputeTx posts what a bank claims, and how that ended.
func (s *Service) bookDisputeTx(ctx context.Context, tx pgx.Tx, p Payment, before, after DisputeCase) error {
	key := fmt.Sprintf("dispute/%d", after.ID)
	if before.ID == 0 {
		if err := s.move(ctx, tx, p, key, "dispute", ledger.Disputes, ledger.Gateway, after.ClaimedKobo); err != nil {
			return err
		}
	}
	if before.Outcome == after.Outcome || after.Outcome == OutcomeOpen {
		return nil
	}
	lost := int64(0)
	if after.Outcome == OutcomeLost {
		lost = min(after.AmountKobo, after.ClaimedKobo)
		if err := s.bookLossTx(ctx, tx, p, key+"/lost", lost); err != nil {
			return err
		}
	}
	if kept := after.ClaimedKobo - lost; kept > 0 {
		return s.move(ctx, tx, p, key+"/won", "dispute_won", ledger.Gateway, ledger.Disputes, kept)
	}
	return nil
}
