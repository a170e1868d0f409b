package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// PostTx adds an entry to the books as part of tx. Posting the same entry again changes nothing; another one under the same key is
// ErrKeyReused. Errors: ErrUnbalanced, ErrKeyReused.
func PostTx(ctx context.Context, tx pgx.Tx, e Entry) error {
	if err := e.check(); err != nil {
		return err
	}
	var id int64
	err := tx.QueryRow(ctx, `
		INSERT INTO ledger_entries (key, mode, at, kind, account_id, tenant_id, payment_id, memo)
		VALUES ($1, $2, $3, $4, nullif($5::bigint, 0), nullif($6::bigint, 0), nullif($7::bigint, 0), $8)
		ON CONFLICT (key) DO NOTHING RETURNING id`,
		e.Key, e.Mode, e.At, e.Kind, e.AccountID, e.TenantID, e.PaymentID, e.Memo).Scan(&id)
	if postgres.NoRows(err) {
		return sameAsPosted(ctx, tx, e)
	}
	if err != nil {
		return fmt.Errorf("post %s: %w", e.Key, err)
	}
	if err := ensureAccounts(ctx, tx, e.Lines); err != nil {
		return fmt.Errorf("post %s: %w", e.Key, err)
	}
	if err := insertLines(ctx, tx, id, e.Lines); err != nil {
		return fmt.Errorf("post %s: %w", e.Key, err)
	}
	return nil
}

// check tells early, and in the poster's stack, what the database would refuse at the commit.
func (e Entry) check() error {
	refuse := func(format string, args ...any) error {
		return ErrUnbalanced.WithCause(fmt.Errorf("entry "+e.Key+": "+format, args...))
	}
	if e.Key == "" || e.Kind == "" || e.At.IsZero() || (e.Mode != Test && e.Mode != Live) || len(e.Lines) < 2 {
		return refuse("it lacks a key, a kind, a time, a mode or lines")
	}
	sums := map[string]int64{}
	for _, l := range e.Lines {
		if l.DebitKobo < 0 || l.CreditKobo < 0 || (l.DebitKobo == 0) == (l.CreditKobo == 0) {
			return refuse("a line on %s is neither a debit nor a credit", l.Account)
		}
		sums[l.Currency] += l.DebitKobo - l.CreditKobo
	}
	for currency, sum := range sums {
		if sum != 0 {
			return refuse("%s is off by %d kobo", currency, sum)
		}
	}
	return nil
}

// ensureAccounts opens customers' accounts at their first use. The order is the same for all, so that two entries can't wait for
// each other.
func ensureAccounts(ctx context.Context, tx pgx.Tx, lines []Line) error {
	var names, kinds []string
	for _, l := range lines {
		kind := kindOf(l.Account)
		if kind != "" && !slices.Contains(names, string(l.Account)) {
			names = append(names, string(l.Account))
		}
	}
	slices.Sort(names)
	for _, name := range names {
		kinds = append(kinds, kindOf(Account(name)))
	}
	if len(names) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO ledger_accounts (name, kind)
		SELECT n.name, n.kind FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (name, kind, position)
		WHERE NOT EXISTS (SELECT FROM ledger_accounts a WHERE a.name = n.name) ORDER BY n.position
		ON CONFLICT (name) DO NOTHING`, names, kinds)
	if err != nil {
		return fmt.Errorf("open the customer's ledger accounts: %w", err)
	}
	return nil
}

// kindOf returns the kind of a customer's account, "" for those of the chart.
func kindOf(a Account) string {
	switch prefix, _, ok := strings.Cut(string(a), "/"); {
	case ok && prefix == "receivable":
		return "asset"
	case ok && prefix == "credit":
		return "liability"
	}
	return ""
}

func insertLines(ctx context.Context, tx pgx.Tx, entry int64, lines []Line) error {
	names, currencies := make([]string, len(lines)), make([]string, len(lines))
	debits, credits := make([]int64, len(lines)), make([]int64, len(lines))
	for i, l := range lines {
		names[i], currencies[i], debits[i], credits[i] = string(l.Account), l.Currency, l.DebitKobo, l.CreditKobo
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO ledger_lines (entry_id, position, ledger_account_id, currency, debit_kobo, credit_kobo)
		SELECT $1, l.position, a.id, l.currency, l.debit, l.credit
		FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY AS l (name, currency, debit, credit, position)
		JOIN ledger_accounts a ON a.name = l.name`, entry, names, currencies, debits, credits)
	if err != nil {
		return fmt.Errorf("write the lines: %w", err)
	}
	if int(tag.RowsAffected()) != len(lines) {
		return ErrUnbalanced.WithCause(fmt.Errorf("one of the accounts %s isn't in the chart", strings.Join(names, ", ")))
	}
	return nil
}

// sameAsPosted compares e with what its key was posted for.
func sameAsPosted(ctx context.Context, tx pgx.Tx, e Entry) error {
	rows, err := tx.Query(ctx, `
		SELECT a.name, l.debit_kobo, l.credit_kobo, l.currency FROM ledger_entries e
		JOIN ledger_lines l ON l.entry_id = e.id JOIN ledger_accounts a ON a.id = l.ledger_account_id
		WHERE e.key = $1 AND e.mode = $2`, e.Key, e.Mode)
	if err != nil {
		return fmt.Errorf("read what is posted as %s: %w", e.Key, err)
	}
	posted, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Line])
	if err != nil {
		return fmt.Errorf("read what is posted as %s: %w", e.Key, err)
	}
	lines := slices.Clone(e.Lines)
	slices.SortFunc(lines, compareLines)
	slices.SortFunc(posted, compareLines)
	if !slices.Equal(lines, posted) {
		return ErrKeyReused.WithCause(fmt.Errorf("%s is posted with other lines", e.Key))
	}
	return nil
}

func compareLines(a, b Line) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Currency, b.Currency), cmp.Compare(a.DebitKobo, b.DebitKobo),
		cmp.Compare(a.CreditKobo, b.CreditKobo))
}
