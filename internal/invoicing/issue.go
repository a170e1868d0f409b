package invoicing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/ledger"
	"controlplane/internal/postgres"
)

// IssueTx numbers and stores an invoice as part of tx, and posts it: the customer owes its amount. The same draft again is answered with
// the invoice that it made. Others who issue wait until tx ends, so it belongs near tx's end, before anything else is posted.
func (s *Service) IssueTx(ctx context.Context, tx pgx.Tx, d Draft) (Invoice, error) {
	if err := d.check(); err != nil {
		return Invoice{}, err
	}
	inv := Invoice{
		Series: seriesOf(d.Mode, false), Key: d.Key, AccountID: d.AccountID, TenantID: d.TenantID, PaymentID: d.PaymentID,
		Reference: d.Reference, PeriodStart: day(d.PeriodStart), PeriodEnd: day(d.PeriodEnd), Currency: d.Currency, Seller: s.opts.Seller,
		CreditKobo: d.CreditKobo,
	}
	return s.issue(ctx, tx, inv, func(inv *Invoice) error {
		var err error
		if inv.Buyer, err = buyer(ctx, tx, d.AccountID); err != nil {
			return err
		}
		tax, err := s.rateFor(ctx, tx, inv.Buyer, inv.IssuedAt.In(s.opts.Location))
		if err != nil {
			return err
		}
		inv.TaxName, inv.TaxBasisPoints, inv.TaxNote = tax.name, tax.basisPoints, tax.note
		for _, l := range d.Lines {
			net := tax.netOf(l.GrossKobo)
			inv.add(Line{Description: l.Description, Quantity: l.Quantity, NetKobo: net, TaxKobo: l.GrossKobo - net, GrossKobo: l.GrossKobo})
		}
		return nil
	})
}

func (d Draft) check() error {
	if d.Key == "" || (d.Mode != ledger.Test && d.Mode != ledger.Live) || d.AccountID == 0 || len(d.Lines) == 0 {
		return ErrBadDraft.WithCause(errors.New("a key, a mode, an account or lines are missing"))
	}
	for _, l := range d.Lines {
		if l.GrossKobo <= 0 || l.Quantity <= 0 || l.Description == "" {
			return ErrBadDraft.WithCause(fmt.Errorf("draft %s has a line without a description, a quantity or an amount", d.Key))
		}
	}
	return nil
}

func day(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return &t
}

func (i *Invoice) add(l Line) {
	i.Lines = append(i.Lines, l)
	i.NetKobo, i.TaxKobo, i.GrossKobo = i.NetKobo+l.NetKobo, i.TaxKobo+l.TaxKobo, i.GrossKobo+l.GrossKobo
}

// issue gives inv a number under the lock of its series, unless its key has one, completes it with fill, and stores and posts it.
func (s *Service) issue(ctx context.Context, tx pgx.Tx, inv Invoice, fill func(*Invoice) error) (Invoice, error) {
	year, last, err := s.lockYear(ctx, tx, inv.Series)
	if err != nil {
		return Invoice{}, err
	}
	issued, err := one(ctx, tx, `WHERE i.key = $1`, inv.Key)
	if err == nil || !errors.Is(err, ErrNotFound) {
		return issued, err
	}
	inv.IssuedAt = s.now()
	if err := fill(&inv); err != nil {
		return Invoice{}, err
	}
	if err := insert(ctx, tx, &inv, year, last+1); err != nil {
		return Invoice{}, err
	}
	return inv, ledger.PostTx(ctx, tx, inv.entry())
}

// entry is what an invoice or credit note means in the books.
func (i Invoice) entry() ledger.Entry {
	kind, lines := "invoice", []ledger.Line{
		{Account: ledger.Receivable(i.AccountID), DebitKobo: i.GrossKobo, Currency: i.Currency},
		{Account: ledger.Revenue, CreditKobo: i.NetKobo, Currency: i.Currency},
		{Account: ledger.VAT, CreditKobo: i.TaxKobo, Currency: i.Currency},
	}
	if i.Credits != "" {
		kind = "credit_note"
		for n, l := range lines {
			lines[n].DebitKobo, lines[n].CreditKobo = l.CreditKobo, l.DebitKobo
		}
	}
	e := ledger.Entry{
		Key: "invoice/" + i.Number, Mode: i.Mode(), At: i.IssuedAt, Kind: kind, AccountID: i.AccountID, TenantID: i.TenantID,
		PaymentID: i.PaymentID, Memo: i.Number,
	}
	for _, l := range lines {
		if l.DebitKobo != 0 || l.CreditKobo != 0 { // a tax of nothing isn't posted
			e.Lines = append(e.Lines, l)
		}
	}
	return e
}

// lockYear is lockCounter for the year that it is once the lock is had: whoever waits for it over midnight gets a number of the new one.
func (s *Service) lockYear(ctx context.Context, tx pgx.Tx, series string) (year, last int, err error) {
	for year != s.today().Year() {
		year = s.today().Year()
		if last, err = lockCounter(ctx, tx, series, year); err != nil {
			return year, 0, err
		}
	}
	return year, last, nil
}

// lockCounter makes everybody else who takes a number of this series wait for tx to end, and returns the last one.
func lockCounter(ctx context.Context, tx pgx.Tx, series string, year int) (int, error) {
	if _, err := tx.Exec(ctx, `INSERT INTO invoice_counters (series, year, last) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING`, series, year); err != nil {
		return 0, fmt.Errorf("open invoice series %s of %d: %w", series, year, err)
	}
	var last int
	err := tx.QueryRow(ctx, `SELECT last FROM invoice_counters WHERE series = $1 AND year = $2 FOR UPDATE`, series, year).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("take an invoice number: %w", err)
	}
	return last, nil
}

func insert(ctx context.Context, tx pgx.Tx, inv *Invoice, year, sequence int) error {
	err := tx.QueryRow(ctx, `
		INSERT INTO invoices (series, year, sequence, key, credits_id, account_id, tenant_id, payment_id, issued_at, period_start, period_end,
			currency, tax_name, tax_basis_points, net_kobo, tax_kobo, gross_kobo, reference, reason, seller, buyer,
			tax_note, credit_kobo)
		VALUES ($1, $2, $3, $4, (SELECT id FROM invoices WHERE number = $5), $6, nullif($7::bigint, 0), nullif($8::bigint, 0), $9, $10, $11,
			$12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
		RETURNING id, number`,
		inv.Series, year, sequence, inv.Key, inv.Credits, inv.AccountID, inv.TenantID, inv.PaymentID, inv.IssuedAt, inv.PeriodStart,
		inv.PeriodEnd, inv.Currency, inv.TaxName, inv.TaxBasisPoints, inv.NetKobo, inv.TaxKobo, inv.GrossKobo, inv.Reference, inv.Reason,
		inv.Seller, inv.Buyer, inv.TaxNote, inv.CreditKobo).Scan(&inv.ID, &inv.Number)
	if err != nil {
		return fmt.Errorf("store invoice %s: %w", inv.Key, err)
	}
	for i, l := range inv.Lines {
		_, err := tx.Exec(ctx, `
			INSERT INTO invoice_lines (invoice_id, position, description, quantity, net_kobo, tax_kobo, gross_kobo)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`, inv.ID, i+1, l.Description, l.Quantity, l.NetKobo, l.TaxKobo, l.GrossKobo)
		if err != nil {
			return fmt.Errorf("store a line of invoice %s: %w", inv.Key, err)
		}
	}
	_, err = tx.Exec(ctx, `UPDATE invoice_counters SET last = $3 WHERE series = $1 AND year = $2`, inv.Series, year, sequence)
	if err != nil {
		return fmt.Errorf("count invoice %s: %w", inv.Key, err)
	}
	return nil
}

// buyer reads how an account wants to be named.
func buyer(ctx context.Context, q postgres.Querier, account accounts.ID) (Party, error) {
	var p Party
	err := q.QueryRow(ctx, `
		SELECT coalesce(nullif(p.name, ''), nullif(a.full_name, ''), a.username), coalesce(p.address, ''), coalesce(p.country, ''), coalesce(p.tax_id, ''), a.email
		FROM accounts a LEFT JOIN billing_profiles p ON p.account_id = a.id WHERE a.id = $1`, account).
		Scan(&p.Name, &p.Address, &p.Country, &p.TaxID, &p.Email)
	if err != nil {
		return Party{}, fmt.Errorf("read whom to invoice: %w", err)
	}
	return p, nil
}
