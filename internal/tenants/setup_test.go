package tenants_test

import (
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const dataKey = "0123456789abcdef0123456789abcdef"

// bundle is a Service on a database of its own, with a clock that stands still until it is moved.
type bundle struct {
	*tenants.Service
	t    *testing.T
	pool *pgxpool.Pool
	ops  *ops.Engine // only enqueues
	ip   netip.Addr

	mu  sync.Mutex
	now time.Time
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t), ip: netip.MustParseAddr("192.0.2.7"), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	var err error
	b.ops, err = ops.New(ops.Deps{Pool: b.pool, Log: slog.New(slog.DiscardHandler)}, ops.Options{})
	require.NoError(t, err)
	b.Service = b.with(dataKey)
	return b
}

// with returns another Service on the same database with the given data keys.
func (b *bundle) with(keys string) *tenants.Service {
	b.t.Helper()
	sealer, err := secrets.NewSealer(secrets.Secret(keys))
	require.NoError(b.t, err)
	return tenants.New(tenants.Deps{Pool: b.pool, Sealer: sealer, Audit: audit.New(b.pool), Ops: b.ops, Now: b.clock},
		tenants.Options{BaseDomain: "example.test"})
}

func (b *bundle) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bundle) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

// account inserts an account; this package doesn't test how they are made.
func (b *bundle) account(name string) accounts.Principal {
	b.t.Helper()
	p := accounts.Principal{Username: name, Email: name + "@example.test"}
	err := b.pool.QueryRow(b.t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, p.Email, name).Scan(&p.AccountID)
	require.NoError(b.t, err)
	return p
}

func (b *bundle) admin() accounts.Principal {
	p := b.account("boss")
	p.Admin = true
	return p
}

func (b *bundle) create(p accounts.Principal, name string) tenants.Tenant {
	b.t.Helper()
	t, err := b.Create(b.t.Context(), p, b.ip, tenants.CreateInput{Name: name, Email: "contact@example.test"})
	require.NoError(b.t, err)
	return t
}

func (b *bundle) tx(fn func(ctx context.Context, tx pgx.Tx) error) error {
	ctx := b.t.Context()
	return postgres.InTx(ctx, b.pool, func(tx pgx.Tx) error { return fn(ctx, tx) })
}

// activate pays for a pending tenant, mints its secrets and makes it active.
func (b *bundle) activate(id tenants.ID) {
	b.t.Helper()
	b.pay(id)
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.MintSecretsTx(ctx, tx, id) }))
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.ActivateTx(ctx, tx, id, endpoint()) }))
}

func (b *bundle) pay(id tenants.ID) {
	b.t.Helper()
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		activated, err := b.MarkPaidTx(ctx, tx, id, "ODOO-0123456789AB")
		require.True(b.t, activated)
		return err
	}))
}

func (b *bundle) move(id tenants.ID, from, to tenants.State) error {
	return b.tx(func(ctx context.Context, tx pgx.Tx) error {
		return b.MoveTx(ctx, tx, id, []tenants.State{from}, to, "test")
	})
}

// history returns the states of a tenant's events, oldest first.
func (b *bundle) history(id tenants.ID) []tenants.State {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), `SELECT to_state FROM tenant_events WHERE tenant_id = $1 ORDER BY id`, id)
	require.NoError(b.t, err)
	states, err := pgx.CollectRows(rows, pgx.RowTo[tenants.State])
	require.NoError(b.t, err)
	return states
}

// count runs SELECT count(*) with the rest of a statement.
func (b *bundle) count(rest string, args ...any) int {
	b.t.Helper()
	var n int
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), "SELECT count(*) "+rest, args...).Scan(&n))
	return n
}

func endpoint() tenants.Endpoint {
	return tenants.Endpoint{Address: netip.MustParseAddr("10.212.0.2"), HTTPPort: 8069, EventPort: 8072}
}

func names(list []tenants.Tenant) string {
	var out []string
	for _, t := range list {
		out = append(out, t.Name)
	}
	return strings.Join(out, " ")
}

func ptr[T any](v T) *T { return &v }
