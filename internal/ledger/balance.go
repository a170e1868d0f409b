package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// Balance returns debits less credits of accounts together, in kobo: what customers owe is positive, what we owe is negative. An
// account that was never used has none.
func Balance(ctx context.Context, q postgres.Querier, mode Mode, currency string, of ...Account) (int64, error) {
	names := make([]string, len(of))
	for i, a := range of {
		names[i] = string(a)
	}
	var kobo int64
	err := q.QueryRow(ctx, `
		SELECT coalesce(sum(l.debit_kobo - l.credit_kobo), 0)::bigint
		FROM ledger_accounts a JOIN ledger_lines l ON l.ledger_account_id = a.id JOIN ledger_entries e ON e.id = l.entry_id
		WHERE a.name = ANY($1) AND l.currency = $2 AND e.mode = $3`, names, currency, mode).Scan(&kobo)
	if err != nil {
		return 0, fmt.Errorf("add up %v: %w", of, err)
	}
	return kobo, nil
}

// Total is what was ever posted to one account in one currency.
type Total struct {
	Account    Account
	Kind       string // "asset", "liability", "income" or "expense"
	Currency   string
	DebitKobo  int64
	CreditKobo int64
}

// BalanceKobo returns debits less credits.
func (t Total) BalanceKobo() int64 { return t.DebitKobo - t.CreditKobo }

// TrialBalance returns every account that was used, by currency and name. The balances of one currency add up to zero.
func TrialBalance(ctx context.Context, q postgres.Querier, mode Mode) ([]Total, error) {
	rows, err := q.Query(ctx, `
		SELECT a.name, a.kind, l.currency, sum(l.debit_kobo)::bigint, sum(l.credit_kobo)::bigint
		FROM ledger_lines l JOIN ledger_accounts a ON a.id = l.ledger_account_id JOIN ledger_entries e ON e.id = l.entry_id
		WHERE e.mode = $1 GROUP BY a.name, a.kind, l.currency ORDER BY l.currency, a.name`, mode)
	if err != nil {
		return nil, fmt.Errorf("draw the trial balance: %w", err)
	}
	totals, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Total])
	if err != nil {
		return nil, fmt.Errorf("draw the trial balance: %w", err)
	}
	return totals, nil
}
