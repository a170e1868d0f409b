package invoicing_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/invoicing"
	"controlplane/internal/ledger"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

// bundle is a Service on a database of its own, with one customer and a clock that stands still.
type bundle struct {
	*invoicing.Service
	t     *testing.T
	owner *pgxpool.Pool
	pool  *pgxpool.Pool
	ada   accounts.Principal
	ip    netip.Addr

	mu  sync.Mutex
	now time.Time
}

func setup(t *testing.T, opts ...invoicing.Options) *bundle {
	t.Helper()
	b := &bundle{t: t, ip: netip.MustParseAddr("192.0.2.7"), now: time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)}
	b.owner, b.pool = pgtest.NewPair(t)
	options := invoicing.Options{Seller: invoicing.Party{Name: "Seller Ltd", Address: "1 Street\nLagos", TaxID: "T-1"}}
	if len(opts) > 0 {
		options = opts[0]
	}
	b.Service = invoicing.New(invoicing.Deps{Pool: b.pool, Audit: audit.New(b.pool), Now: b.clock}, options)
	b.ada = b.account("ada")
	return b
}

func (b *bundle) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bundle) at(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = now
}

func (b *bundle) account(name string) accounts.Principal {
	b.t.Helper()
	p := accounts.Principal{Username: name, Email: name + "@example.com"}
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, p.Email, name).Scan(&p.AccountID))
	return p
}

func (b *bundle) draft(key string, kobo int64) invoicing.Draft {
	return invoicing.Draft{
		Key: key, Mode: ledger.Live, AccountID: b.ada.AccountID, Reference: "ODOO-1", Currency: "NGN",
		Lines: []invoicing.DraftLine{{Description: "Odoo hosting", Quantity: 1, GrossKobo: kobo}},
	}
}

func (b *bundle) tryIssue(d invoicing.Draft) (inv invoicing.Invoice, err error) {
	err = postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		inv, err = b.IssueTx(b.t.Context(), tx, d)
		return err
	})
	return inv, err
}

func (b *bundle) issue(d invoicing.Draft) invoicing.Invoice {
	b.t.Helper()
	inv, err := b.tryIssue(d)
	require.NoError(b.t, err)
	return inv
}

func (b *bundle) credit(d invoicing.CreditDraft) (note invoicing.Invoice, err error) {
	err = postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) error {
		note, err = b.CreditNoteTx(b.t.Context(), tx, d)
		return err
	})
	return note, err
}

func (b *bundle) balance(of ...ledger.Account) int64 {
	b.t.Helper()
	kobo, err := ledger.Balance(b.t.Context(), b.pool, ledger.Live, "NGN", of...)
	require.NoError(b.t, err)
	return kobo
}
