package invoicing

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// CreditNoteTx takes back an invoice, or a part of it, as part of tx, and posts it: the customer owes that much less. The same draft
// again is answered with the note that it made. Errors: ErrNotFound, ErrCreditTooLarge.
func (s *Service) CreditNoteTx(ctx context.Context, tx pgx.Tx, d CreditDraft) (Invoice, error) {
	if d.Key == "" || d.GrossKobo <= 0 {
		return Invoice{}, ErrBadDraft.WithCause(errors.New("a key or an amount is missing"))
	}
	original, err := one(ctx, tx, `WHERE i.id = $1 AND i.credits_id IS NULL`, d.InvoiceID)
	if err != nil {
		return Invoice{}, err
	}
	// Nobody but the schema's owner may lock an invoice's row; two notes on one invoice could meet across the turn of a year.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('invoice ' || $1, 0))`, original.Number); err != nil {
		return Invoice{}, fmt.Errorf("lock invoice %s: %w", original.Number, err)
	}
	note := original
	note.ID, note.Number, note.Lines = 0, "", nil
	note.NetKobo, note.TaxKobo, note.GrossKobo, note.CreditKobo = 0, 0, 0, 0
	note.Key, note.Credits, note.Reason, note.Series = d.Key, original.Number, d.Reason, seriesOf(original.Mode(), true)
	return s.issue(ctx, tx, note, func(note *Invoice) error {
		gross, net, err := credited(ctx, tx, original.ID)
		if err != nil {
			return err
		}
		if gross+d.GrossKobo > original.GrossKobo {
			return ErrCreditTooLarge
		}
		// Of what is credited in all, so that notes on the whole invoice add up to its tax.
		part := divide(original.NetKobo, gross+d.GrossKobo, original.GrossKobo) - net
		note.add(Line{
			Description: "Credit on invoice " + original.Number, Quantity: 1, NetKobo: part, TaxKobo: d.GrossKobo - part, GrossKobo: d.GrossKobo,
		})
		return nil
	})
}

// credited returns what was credited of an invoice before.
func credited(ctx context.Context, q postgres.Querier, id ID) (gross, net int64, err error) {
	err = q.QueryRow(ctx, `SELECT coalesce(sum(gross_kobo), 0)::bigint, coalesce(sum(net_kobo), 0)::bigint FROM invoices WHERE credits_id = $1`, id).
		Scan(&gross, &net)
	if err != nil {
		return 0, 0, fmt.Errorf("add up the credit notes: %w", err)
	}
	return gross, net, nil
}
