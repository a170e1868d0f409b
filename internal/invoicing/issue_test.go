package invoicing_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
	"controlplane/internal/postgres"
)

func TestIssueTx_SplitsOffTheTaxAndPosts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	d := b.draft("payment/1", 1_500_000)
	d.PeriodStart, d.PeriodEnd = time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC), time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)
	inv := b.issue(d)
	require.Equal(t, "INV-2026-000001", inv.Number)
	require.Equal(t, int64(1_500_000), inv.GrossKobo)
	require.Equal(t, int64(104_651), inv.TaxKobo)
	require.Equal(t, invoicing.Party{Name: "Seller Ltd", Address: "1 Street\nLagos", Country: "NG", TaxID: "T-1"}, inv.Seller)
	require.Equal(t, invoicing.Party{Name: "ada", Email: "ada@example.com"}, inv.Buyer)
	require.Equal(t, int64(1_500_000), b.balance(ledger.Receivable(b.ada.AccountID)))
	require.Equal(t, int64(-1_395_349), b.balance(ledger.Revenue))
	require.Equal(t, int64(-104_651), b.balance(ledger.VAT))

	read, err := b.Get(t.Context(), b.ada, inv.Number)
	require.NoError(t, err)
	read.IssuedAt = read.IssuedAt.UTC()
	require.Equal(t, inv, read)
	again := b.issue(d)
	require.Equal(t, inv.Number, again.Number)
	require.Equal(t, "INV-2026-000002", b.issue(b.draft("payment/2", 100)).Number)
	require.Equal(t, "INV-2026-000003", b.issue(b.draft("payment/3", 100)).Number)
}

// Numbers have no gaps, however many issue at once, the same thing too, and however many of them fail.
func TestIssueTx_NumbersWithoutGaps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	errStop := errors.New("stop")
	var wg sync.WaitGroup
	failed := make([]error, 20)
	for i := range failed {
		wg.Go(func() {
			for n := range 10 {
				err := postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
					if _, err := b.IssueTx(t.Context(), tx, b.draft(fmt.Sprintf("payment/%d", (i/2)*10+n), 100)); err != nil {
						return err
					}
					if i%2 == 0 && n%3 == 0 {
						return errStop
					}
					return nil
				})
				if err != nil && !errors.Is(err, errStop) {
					failed[i] = err
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(failed...))
	var count, last, distinct int
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT count(*), max(sequence), count(DISTINCT key) FROM invoices`).Scan(&count, &last, &distinct))
	require.Equal(t, []int{100, 100, 100}, []int{count, last, distinct})
	require.Equal(t, int64(100*100), b.balance(ledger.Receivable(b.ada.AccountID)))
}

func TestIssueTx_EachYearAndSeriesBeginsAnew(t *testing.T) {
	t.Parallel()
	lagos := time.FixedZone("WAT", 3600)
	b := setup(t, invoicing.Options{Location: lagos})
	b.at(time.Date(2026, 12, 31, 22, 59, 59, 0, time.UTC))
	require.Equal(t, "INV-2026-000001", b.issue(b.draft("a", 100)).Number)
	b.at(time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)) // midnight in Lagos
	require.Equal(t, "INV-2027-000001", b.issue(b.draft("b", 100)).Number)
	play := b.draft("c", 100)
	play.Mode = ledger.Test
	require.Equal(t, "TEST-2027-000001", b.issue(play).Number)
	require.Equal(t, "INV-2027-000002", b.issue(b.draft("d", 100)).Number)
}

// Whoever waits for a number over midnight gets one of the year in which the invoice is dated.
func TestIssueTx_WaitsIntoTheNewYear(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.at(time.Date(2026, 12, 31, 23, 59, 59, 0, time.UTC))
	tx, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = tx.Rollback(context.Background()) }()
	_, err = b.IssueTx(t.Context(), tx, b.draft("a", 100))
	require.NoError(t, err)
	late := make(chan invoicing.Invoice, 1)
	go func() {
		inv, _ := b.tryIssue(b.draft("b", 100))
		late <- inv
	}()
	require.Eventually(t, func() bool {
		var waiting int
		err := b.owner.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting)
		return err == nil && waiting == 1
	}, time.Minute, 10*time.Millisecond)
	b.at(time.Date(2027, 1, 1, 0, 0, 1, 0, time.UTC))
	require.NoError(t, tx.Commit(t.Context()))
	require.Equal(t, "INV-2027-000001", (<-late).Number)
}

func TestIssueTx_TaxIsData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.owner.Exec(t.Context(), `INSERT INTO tax_rates VALUES ('NG', '2026-07-01', 'VAT', 1000), ('KE', '2013-09-02', 'VAT', 1600)`)
	require.NoError(t, err)
	require.Equal(t, int64(75), b.issue(b.draft("june", 1075)).TaxKobo)
	b.at(time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC))
	require.Equal(t, int64(100), b.issue(b.draft("july", 1100)).TaxKobo)
	untaxed := setup(t, invoicing.Options{Seller: invoicing.Party{Country: "XX"}})
	inv := untaxed.issue(untaxed.draft("a", 1100))
	require.Equal(t, int64(1100), inv.NetKobo)
	require.Empty(t, inv.TaxName)
}

func TestIssueTx_RefusesWhatIsNoDraft(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, change := range map[string]func(*invoicing.Draft){
		"no key":         func(d *invoicing.Draft) { d.Key = "" },
		"no mode":        func(d *invoicing.Draft) { d.Mode = "" },
		"no account":     func(d *invoicing.Draft) { d.AccountID = 0 },
		"no lines":       func(d *invoicing.Draft) { d.Lines = nil },
		"no amount":      func(d *invoicing.Draft) { d.Lines[0].GrossKobo = 0 },
		"less than none": func(d *invoicing.Draft) { d.Lines[0].GrossKobo = -1 },
		"no quantity":    func(d *invoicing.Draft) { d.Lines[0].Quantity = 0 },
		"no description": func(d *invoicing.Draft) { d.Lines[0].Description = "" },
	} {
		d := b.draft("payment/1", 100)
		change(&d)
		_, err := b.tryIssue(d)
		require.ErrorIs(t, err, invoicing.ErrBadDraft, name)
	}
	require.Equal(t, "INV-2026-000001", b.issue(b.draft("payment/1", 100)).Number)
}

func TestCreditNoteTx_TakesBackToTheKobo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	inv := b.issue(b.draft("payment/1", 1_000_001))
	var net, tax int64
	for i, kobo := range []int64{333_333, 1, 333_333, 333_334} {
		d := invoicing.CreditDraft{Key: fmt.Sprintf("refund/%d", i), InvoiceID: inv.ID, GrossKobo: kobo, Reason: "too slow"}
		note, err := b.credit(d)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("CN-2026-%06d", i+1), note.Number)
		require.Equal(t, inv.Number, note.Credits)
		again, err := b.credit(d)
		require.NoError(t, err)
		require.Equal(t, note.Number, again.Number)
		net, tax = net+note.NetKobo, tax+note.TaxKobo
	}
	require.Equal(t, inv.NetKobo, net)
	require.Equal(t, inv.TaxKobo, tax)
	require.Zero(t, b.balance(ledger.Receivable(b.ada.AccountID)))
	require.Zero(t, b.balance(ledger.Revenue))
	require.Zero(t, b.balance(ledger.VAT))
	_, err := b.credit(invoicing.CreditDraft{Key: "refund/more", InvoiceID: inv.ID, GrossKobo: 1})
	require.ErrorIs(t, err, invoicing.ErrCreditTooLarge)
	_, err = b.credit(invoicing.CreditDraft{Key: "refund/none", InvoiceID: inv.ID + 100, GrossKobo: 1})
	require.ErrorIs(t, err, invoicing.ErrNotFound)
	_, err = b.credit(invoicing.CreditDraft{Key: "refund/0", InvoiceID: inv.ID})
	require.ErrorIs(t, err, invoicing.ErrBadDraft)
}

func TestCreditNoteTx_NeverMoreThanTheInvoiceAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	inv := b.issue(b.draft("payment/1", 1000))
	var wg sync.WaitGroup
	errs := make([]error, 10)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = b.credit(invoicing.CreditDraft{Key: fmt.Sprintf("refund/%d", i), InvoiceID: inv.ID, GrossKobo: 300})
		})
	}
	wg.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		require.ErrorIs(t, err, invoicing.ErrCreditTooLarge)
	}
	require.Equal(t, 3, done)
	require.Equal(t, int64(100), b.balance(ledger.Receivable(b.ada.AccountID)))
}

// Not even our own program can change what was issued, or leave a gap.
func TestDatabase_KeepsInvoicesAsTheyAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	inv := b.issue(b.draft("payment/1", 1000))
	for _, sql := range []string{
		"UPDATE invoices SET buyer = '{}'", "DELETE FROM invoices", "TRUNCATE invoices CASCADE", "UPDATE invoice_lines SET description = 'x'",
		"DELETE FROM invoice_lines", "DELETE FROM invoice_counters", "UPDATE tax_rates SET basis_points = 0",
	} {
		_, err := b.pool.Exec(t.Context(), sql)
		var refused *pgconn.PgError
		require.ErrorAs(t, err, &refused, sql)
		require.Equal(t, "42501", refused.Code, sql)
	}
	_, err := b.owner.Exec(t.Context(), "DELETE FROM invoices")
	require.ErrorContains(t, err, "append-only")
	for _, sql := range []string{
		`UPDATE invoice_counters SET last = 7`,
		`INSERT INTO invoice_counters VALUES ('INV', 2027, 7)`,
	} {
		_, err := b.pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	_, err = b.tryIssue(b.draft("payment/2", 1000))
	require.ErrorContains(t, err, "invoices_gapless")
	b.at(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	_, err = b.tryIssue(b.draft("payment/2", 1000))
	require.ErrorContains(t, err, "invoices_gapless")
	_, err = b.pool.Exec(t.Context(), `INSERT INTO invoice_lines VALUES ($1, 9, 'more', 1, 1, 0, 1)`, inv.ID)
	require.ErrorContains(t, err, "don't add up")
}

func TestList_IsOnesOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range 3 {
		b.issue(b.draft(fmt.Sprintf("payment/%d", i), 1000))
	}
	list, total, err := b.List(t.Context(), b.ada, 1, 1)
	require.NoError(t, err)
	require.Equal(t, 3, total)
	require.Len(t, list, 1)
	require.Equal(t, "INV-2026-000002", list[0].Number)
	eve := b.account("eve")
	list, total, err = b.List(t.Context(), eve, 0, 10)
	require.NoError(t, err)
	require.Zero(t, total)
	require.Empty(t, list)
	_, err = b.Get(t.Context(), eve, "INV-2026-000002")
	require.ErrorIs(t, err, invoicing.ErrNotFound)
	_, err = b.Get(t.Context(), accounts.Principal{AccountID: eve.AccountID, Admin: true}, "INV-2026-000002")
	require.NoError(t, err)
	for _, page := range [][2]int{{-1, 10}, {0, 0}, {0, 1001}} {
		_, _, err = b.List(t.Context(), b.ada, page[0], page[1])
		require.ErrorIs(t, err, invoicing.ErrPageBounds)
	}
}

func TestOfPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.OfPayment(t.Context(), b.pool, 7)
	require.ErrorIs(t, err, invoicing.ErrNotFound)
}
