package billing

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ledger"
	"controlplane/internal/postgres"
)

const differenceUnbooked = "unbooked" // money in a payment that isn't in the books

// unbookedPayments returns references of payments that were applied and whose entry the books lack, as of one that is older than they are.
// What went back before it was ever applied has none.
func unbookedPayments(ctx context.Context, q postgres.Querier, mode string, after PaymentID, limit int) ([]counterpart, error) {
	return queryCounterparts(ctx, q, `
		WHERE p.mode = $1 AND p.id > $2 AND (p.status = 'success' OR p.status = 'refunded' AND p.purpose <> 'credit')
			AND NOT EXISTS (SELECT FROM ledger_entries e WHERE e.key = 'payment/' || p.reference)
			AND NOT EXISTS (SELECT FROM ledger_entries e WHERE e.key = 'payment/' || p.reference || '/credit')
		ORDER BY p.id LIMIT $3`, mode, after, limit)
}

// compareBooks reports each payment whose money isn't in the books.
func (s *Service) compareBooks(ctx context.Context, run *ReconcileRun) error {
	after := PaymentID(0)
	for {
		list, err := unbookedPayments(ctx, s.deps.Pool, run.Mode, after, 100)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, c := range list {
			after = c.ID
			if err := saveDifference(ctx, s.deps.Pool, *run, c.unbooked(), s.now()); err != nil {
				return err
			}
		}
	}
}

func (c counterpart) unbooked() mismatch {
	return mismatch{Kind: differenceUnbooked, Reference: c.Reference, PaymentID: c.ID, Ours: clipText(c.String(), 300), Theirs: "not in the books"}
}

// Backfill books and invoices payments of the gateway's present mode that were applied before there were books, and returns how many. It
// may be broken off and repeated: what is booked is left alone. Invoices bear the day of the backfill, entries that of the payment.
func (s *Service) Backfill(ctx context.Context) (int, error) {
	after, done := PaymentID(0), 0
	for ctx.Err() == nil {
		list, err := unbookedPayments(ctx, s.deps.Pool, s.deps.Gateway.Mode(), after, 100)
		if err != nil || len(list) == 0 {
			return done, err
		}
		for _, c := range list {
			after = c.ID
			err := s.inPayment(ctx, c.Reference, func(tx pgx.Tx, p Payment) error { return s.backfillTx(ctx, tx, p) })
			if err != nil {
				return done, fmt.Errorf("book payment %s: %w", c.Reference, err)
			}
			done++
		}
	}
	return done, ctx.Err()
}

// backfillTx posts what applying the payment would have posted, from its row alone. Of one that is refunded and that no refund or dispute
// explains the money is gone too, as a reversal.
func (s *Service) backfillTx(ctx context.Context, tx pgx.Tx, p Payment) error {
	t := Transaction{Reference: p.Reference, PaidAt: p.PaidAt}
	if err := tx.QueryRow(ctx, `SELECT fees_kobo FROM payments WHERE id = $1`, p.ID).Scan(&t.FeesKobo); err != nil {
		return fmt.Errorf("read the fee: %w", err)
	}
	if t.PaidAt == nil {
		t.PaidAt = p.CompletedAt
	}
	if p.Purpose == PurposeCredit {
		return s.bookCreditTx(ctx, tx, p, t)
	}
	what, err := saleOf(ctx, tx, p)
	if err != nil {
		return err
	}
	if err := s.bookSaleTx(ctx, tx, p, t, what); err != nil || p.Status != StatusRefunded {
		return err
	}
	returned, err := s.explained(ctx, tx, p.ID)
	if err != nil || returned {
		return err
	}
	return s.move(ctx, tx, p, "reversal/"+p.Reference, "reversal", ledger.Suspense, ledger.Gateway, p.AmountKobo)
}
