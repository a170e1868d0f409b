package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/ledger"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

// bundle is a database with one customer, used as the running platform's role.
type bundle struct {
	t        *testing.T
	owner    *pgxpool.Pool
	pool     *pgxpool.Pool
	customer accounts.ID
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t}
	b.owner, b.pool = pgtest.NewPair(t)
	require.NoError(t, b.pool.QueryRow(t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ('ada@example.com', 'ada@example.com', 'ada', 'ada', 'x') RETURNING id`).Scan(&b.customer))
	return b
}

func (b *bundle) post(e ledger.Entry) error {
	return postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error { return ledger.PostTx(b.t.Context(), tx, e) })
}

func (b *bundle) invoice(key string, kobo int64) ledger.Entry {
	return ledger.Entry{
		Key: key, Mode: ledger.Test, At: time.Now(), Kind: "invoice", AccountID: b.customer,
		Lines: ledger.Move(ledger.Receivable(b.customer), ledger.Revenue, kobo, "NGN"),
	}
}

func (b *bundle) balance(of ...ledger.Account) int64 {
	b.t.Helper()
	kobo, err := ledger.Balance(b.t.Context(), b.pool, ledger.Test, "NGN", of...)
	require.NoError(b.t, err)
	return kobo
}

func TestPostTx_KeepsBooks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sale := b.invoice("invoice/1", 0)
	sale.Lines = []ledger.Line{
		{Account: ledger.Receivable(b.customer), DebitKobo: 1075, Currency: "NGN"},
		{Account: ledger.Revenue, CreditKobo: 1000, Currency: "NGN"},
		{Account: ledger.VAT, CreditKobo: 75, Currency: "NGN"},
	}
	require.NoError(t, b.post(sale))
	paid := b.invoice("payment/1", 0)
	paid.Lines = ledger.Move(ledger.Gateway, ledger.Receivable(b.customer), 1075, "NGN")
	require.NoError(t, b.post(paid))
	fee := b.invoice("payment/1/fee", 0)
	fee.Lines = ledger.Move(ledger.Fees, ledger.Gateway, 16, "NGN")
	require.NoError(t, b.post(fee))

	require.Equal(t, int64(1059), b.balance(ledger.Gateway))
	require.Zero(t, b.balance(ledger.Receivable(b.customer)))
	require.Equal(t, int64(-1075), b.balance(ledger.Revenue, ledger.VAT))
	totals, err := ledger.TrialBalance(t.Context(), b.pool, ledger.Test)
	require.NoError(t, err)
	var sum int64
	for _, total := range totals {
		sum += total.BalanceKobo()
	}
	require.Zero(t, sum)
	require.Len(t, totals, 5)
	live, err := ledger.TrialBalance(t.Context(), b.pool, ledger.Live)
	require.NoError(t, err)
	require.Empty(t, live, "play money is in books of its own")
}

func TestPostTx_TheSameEventTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	errs := make([]error, 10)
	for i := range errs {
		wg.Go(func() { errs[i] = b.post(b.invoice("invoice/1", 500)) })
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, int64(500), b.balance(ledger.Receivable(b.customer)))
	require.ErrorIs(t, b.post(b.invoice("invoice/1", 501)), ledger.ErrKeyReused)
	other := b.invoice("invoice/1", 500)
	other.Mode = ledger.Live
	require.ErrorIs(t, b.post(other), ledger.ErrKeyReused)
}

func TestPostTx_RefusesWhatIsNoEntry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, change := range map[string]func(*ledger.Entry){
		"out of balance":      func(e *ledger.Entry) { e.Lines[0].DebitKobo++ },
		"one line":            func(e *ledger.Entry) { e.Lines = e.Lines[:1] },
		"no lines":            func(e *ledger.Entry) { e.Lines = nil },
		"two currencies":      func(e *ledger.Entry) { e.Lines[0].Currency = "USD" },
		"a negative debit":    func(e *ledger.Entry) { e.Lines[0].DebitKobo, e.Lines[1].CreditKobo = -5, -5 },
		"both sides":          func(e *ledger.Entry) { e.Lines[0].CreditKobo = 1 },
		"no key":              func(e *ledger.Entry) { e.Key = "" },
		"no time":             func(e *ledger.Entry) { e.At = time.Time{} },
		"no mode":             func(e *ledger.Entry) { e.Mode = "" },
		"an unknown account":  func(e *ledger.Entry) { e.Lines[1].Account = "petty_cash" },
		"an unknown customer": func(e *ledger.Entry) { e.Lines[1].Account = "vendor/7" },
	} {
		e := b.invoice("invoice/"+name, 500)
		change(&e)
		require.ErrorIs(t, b.post(e), ledger.ErrUnbalanced, name)
	}
	var n int
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM ledger_entries").Scan(&n))
	require.Zero(t, n)
}

const newEntry = `INSERT INTO ledger_entries (key, mode, at, kind) VALUES (md5(random()::text), 'test', now(), 'x')`

func line(account, side string, kobo int) string {
	return fmt.Sprintf(`INSERT INTO ledger_lines (entry_id, position, ledger_account_id, currency, %s)
		SELECT (SELECT max(id) FROM public.ledger_entries),
			(SELECT coalesce(max(position), 0) + 1 FROM public.ledger_lines WHERE entry_id = (SELECT max(id) FROM public.ledger_entries)),
			(SELECT id FROM ledger_accounts WHERE name = '%s'), 'NGN', %d`, side, account, kobo)
}

// The database refuses by itself, whatever a program with the platform's role sends it and in whichever order.
func TestDatabase_RefusesAnUnbalancedEntry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	debit, credit := line("gateway", "debit_kobo", 5), line("revenue", "credit_kobo", 5)
	both := `WITH e AS (` + newEntry + ` RETURNING id) INSERT INTO ledger_lines (entry_id, position, ledger_account_id, currency, debit_kobo, credit_kobo)
		SELECT e.id, l.* FROM e, (VALUES (1, 1, 'NGN', 5, 0), (2, 3, 'NGN', 0, %d)) AS l`
	for name, statements := range map[string][]string{
		"no lines":                  {newEntry},
		"one side":                  {newEntry, debit},
		"sides that differ":         {newEntry, debit, line("revenue", "credit_kobo", 6)},
		"checked too early":         {newEntry, debit, credit, "SET CONSTRAINTS ALL IMMEDIATE", "SET CONSTRAINTS ALL DEFERRED", line("fees", "debit_kobo", 1)},
		"immediate from the start":  {"SET CONSTRAINTS ALL IMMEDIATE", newEntry, debit, credit},
		"immediate, one statement":  {"SET CONSTRAINTS ALL IMMEDIATE", fmt.Sprintf(both, 6)},
		"more after immediate":      {"SET CONSTRAINTS ALL IMMEDIATE", fmt.Sprintf(both, 5), line("fees", "debit_kobo", 1)},
		"half taken back":           {newEntry, debit, "SAVEPOINT s", credit, "ROLLBACK TO s"},
		"a table in its place":      {"CREATE TEMP TABLE ledger_lines (LIKE public.ledger_lines)", newEntry, qualified(debit), "INSERT INTO pg_temp.ledger_lines SELECT * FROM public.ledger_lines"},
		"functions in their place":  {"SET LOCAL search_path = pg_temp, public", newEntry, debit},
		"both at once, unbalanced":  {fmt.Sprintf(both, 4)},
		"a currency for another":    {newEntry, debit, "INSERT INTO ledger_lines (entry_id, position, ledger_account_id, currency, credit_kobo) SELECT max(id), 9, 3, 'USD', 5 FROM ledger_entries"},
		"one entry for two of them": {newEntry, debit, newEntry, credit},
	} {
		require.Equal(t, "23514", b.sqlState(statements...), name)
	}
	require.Empty(t, b.sqlState(newEntry, debit, credit))
	require.Empty(t, b.sqlState("SET CONSTRAINTS ALL IMMEDIATE", fmt.Sprintf(both, 5)))
	require.Equal(t, "23514", b.sqlState(line("fees", "debit_kobo", 1), line("gateway", "credit_kobo", 1)), "an entry is closed with its transaction")
}

func qualified(sql string) string {
	return "INSERT INTO public." + sql[len("INSERT INTO "):]
}

// sqlState runs statements in one transaction and returns what PostgreSQL refused one with, the commit included.
func (b *bundle) sqlState(statements ...string) string {
	b.t.Helper()
	err := postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(b.t.Context(), sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		return ""
	}
	var refused *pgconn.PgError
	require.ErrorAs(b.t, err, &refused)
	return refused.Code
}

func TestDatabase_NothingPostedIsEverChanged(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.post(b.invoice("invoice/1", 500)))
	for _, sql := range []string{
		"UPDATE ledger_lines SET debit_kobo = 1 WHERE debit_kobo > 0",
		"DELETE FROM ledger_lines",
		"TRUNCATE ledger_lines",
		"UPDATE ledger_entries SET at = now()",
		"DELETE FROM ledger_entries",
		"TRUNCATE ledger_entries CASCADE",
		"UPDATE ledger_accounts SET name = 'x'",
		"DELETE FROM ledger_accounts",
	} {
		require.Equal(t, "42501", b.sqlState(sql), sql)
		_, err := b.owner.Exec(t.Context(), sql)
		require.ErrorContains(t, err, "append-only", sql)
	}
	for _, sql := range []string{
		"INSERT INTO ledger_entries (key, mode, at, kind, xid) VALUES ('x', 'test', now(), 'x', '1')",
		"INSERT INTO ledger_entries (key, mode, at, kind, posted_at) VALUES ('x', 'test', now(), 'x', '2020-01-01')",
		"ALTER TABLE ledger_lines DISABLE TRIGGER ALL",
		"DROP TRIGGER ledger_lines_balanced ON ledger_lines",
		"CREATE OR REPLACE FUNCTION ledger_balanced() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		"SET session_replication_role = replica",
	} {
		require.Equal(t, "42501", b.sqlState(sql), sql)
	}
}

// Whatever is posted, the books balance; what is out of balance isn't posted.
func TestPostTx_AnyMixOfEntries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const seed = 20261122
	rng := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // reproducible
	chart := []ledger.Account{
		ledger.Gateway, ledger.Fees, ledger.Revenue, ledger.VAT, ledger.RefundsInTransit, ledger.Disputes, ledger.WriteOffs, ledger.Suspense,
		ledger.Receivable(b.customer), ledger.Credit(b.customer),
	}
	want := map[ledger.Account]int64{}
	for i := range 150 {
		e := b.invoice(fmt.Sprintf("entry/%d", i), 0)
		e.Lines = nil
		var sum int64
		for range 1 + rng.IntN(4) {
			kobo := 1 + rng.Int64N(1_000_000_000)
			e.Lines = append(e.Lines, ledger.Line{Account: chart[rng.IntN(len(chart))], DebitKobo: kobo, Currency: "NGN"})
			sum += kobo
		}
		skew := int64(0)
		if rng.IntN(3) == 0 {
			skew = 1
		}
		e.Lines = append(e.Lines, ledger.Line{Account: chart[rng.IntN(len(chart))], CreditKobo: sum + skew, Currency: "NGN"})
		err := b.post(e)
		require.Equal(t, skew != 0, errors.Is(err, ledger.ErrUnbalanced), "%d: %v", i, err)
		if err == nil {
			for _, l := range e.Lines {
				want[l.Account] += l.DebitKobo - l.CreditKobo
			}
		}
	}
	for _, a := range chart {
		require.Equal(t, want[a], b.balance(a), a)
	}
	require.Zero(t, b.balance(chart...))
}

// A transaction that is rolled back leaves nothing, and its key free.
func TestPostTx_IsPartOfItsTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	errStop := errors.New("stop")
	err := postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
		require.NoError(t, ledger.PostTx(t.Context(), tx, b.invoice("invoice/1", 500)))
		return errStop
	})
	require.ErrorIs(t, err, errStop)
	require.NoError(t, b.post(b.invoice("invoice/1", 700)))
	require.Equal(t, int64(700), b.balance(ledger.Receivable(b.customer)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = ledger.TrialBalance(ctx, b.pool, ledger.Test)
	require.ErrorIs(t, err, context.Canceled)
}
