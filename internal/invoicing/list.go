package invoicing

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
)

const columns = `i.id, i.number, coalesce(c.number, ''), i.key, i.series, i.account_id, coalesce(i.tenant_id, 0), coalesce(i.payment_id, 0),
	i.reference, i.reason, i.issued_at, i.period_start, i.period_end, i.currency, i.tax_name, i.tax_basis_points, i.net_kobo, i.tax_kobo,
	i.gross_kobo, i.tax_note, i.credit_kobo, i.seller, i.buyer,
	(SELECT json_agg(json_build_object('Description', l.description, 'Quantity', l.quantity, 'NetKobo', l.net_kobo, 'TaxKobo', l.tax_kobo,
		'GrossKobo', l.gross_kobo) ORDER BY l.position) FROM invoice_lines l WHERE l.invoice_id = i.id)`

const from = ` FROM invoices i LEFT JOIN invoices c ON c.id = i.credits_id `

// List returns a part of p's own invoices and credit notes, newest first, and how many there are in all. Errors: ErrPageBounds.
func (s *Service) List(ctx context.Context, p accounts.Principal, skip, limit int) ([]Invoice, int, error) {
	if skip < 0 || limit < 1 || limit > 1000 {
		return nil, 0, ErrPageBounds
	}
	var total int
	if err := s.deps.Pool.QueryRow(ctx, `SELECT count(*) FROM invoices WHERE account_id = $1`, p.AccountID).Scan(&total); err != nil {
		return nil, 0, fmt.Errorf("count the invoices: %w", err)
	}
	list, err := collect(ctx, s.deps.Pool, `WHERE i.account_id = $1 ORDER BY i.id DESC OFFSET $2 LIMIT $3`, p.AccountID, skip, limit)
	return list, total, err
}

// Get returns one of p's invoices or credit notes; admins see everybody's. Errors: ErrNotFound.
func (s *Service) Get(ctx context.Context, p accounts.Principal, number string) (Invoice, error) {
	if len(number) > 40 {
		return Invoice{}, ErrNotFound
	}
	inv, err := one(ctx, s.deps.Pool, `WHERE i.number = $1`, number)
	if err == nil && inv.AccountID != p.AccountID && !p.Admin {
		return Invoice{}, ErrNotFound
	}
	return inv, err
}

// OfPayment returns the invoice that a payment paid. Errors: ErrNotFound, as for money that became a credit.
func (s *Service) OfPayment(ctx context.Context, q postgres.Querier, paymentID int64) (Invoice, error) {
	return one(ctx, q, `WHERE i.payment_id = $1 AND i.credits_id IS NULL ORDER BY i.id LIMIT 1`, paymentID)
}

func one(ctx context.Context, q postgres.Querier, where string, args ...any) (Invoice, error) {
	list, err := collect(ctx, q, where, args...)
	if err != nil {
		return Invoice{}, err
	}
	if len(list) == 0 {
		return Invoice{}, ErrNotFound
	}
	return list[0], nil
}

func collect(ctx context.Context, q postgres.Querier, where string, args ...any) ([]Invoice, error) {
	rows, err := q.Query(ctx, `SELECT `+columns+from+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read invoices: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Invoice, error) {
		var i Invoice
		err := row.Scan(&i.ID, &i.Number, &i.Credits, &i.Key, &i.Series, &i.AccountID, &i.TenantID, &i.PaymentID, &i.Reference, &i.Reason,
			&i.IssuedAt, &i.PeriodStart, &i.PeriodEnd, &i.Currency, &i.TaxName, &i.TaxBasisPoints, &i.NetKobo, &i.TaxKobo, &i.GrossKobo, &i.TaxNote,
			&i.CreditKobo, &i.Seller, &i.Buyer, &i.Lines)
		return i, err
	})
	if err != nil {
		return nil, fmt.Errorf("read invoices: %w", err)
	}
	return list, nil
}
