package provision_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
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
	"controlplane/internal/provision"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const testImage = "odoo:19.0"

// bundle is a Service on a platform database of its own, and what it works on.
type bundle struct {
	*provision.Service
	pool    *pgxpool.Pool
	ops     *ops.Engine
	tenants *tenants.Service
	options provision.Options
	log     *slog.Logger
}

// setup uses doubles of engine and database server.
func setup(t *testing.T) (*bundle, *world) {
	t.Helper()
	w := newWorld()
	b := newBundle(t, w, w, provision.Options{
		Installation: "test", Image: testImage, Supernet: netip.MustParsePrefix("10.99.0.0/16"), DatabaseHost: "127.0.0.1",
		DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")},
	})
	return b, w
}

func newBundle(t *testing.T, runtime provision.Runtime, database provision.Database, opts provision.Options) *bundle {
	t.Helper()
	b := &bundle{pool: pgtest.New(t), log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))}
	opts.TenantURL = func(domain string) string { return "http://" + domain + ":8080" }
	b.options = opts
	sealer, err := secrets.NewSealer("0123456789abcdef0123456789abcdef")
	require.NoError(t, err)
	b.ops = b.engine(t)
	b.tenants = tenants.New(tenants.Deps{Pool: b.pool, Sealer: sealer, Audit: audit.New(b.pool), Ops: b.ops}, tenants.Options{BaseDomain: "example.test"})
	b.Service = b.service(t, b.ops, runtime, database)
	return b
}

func (b *bundle) engine(t *testing.T) *ops.Engine {
	t.Helper()
	engine, err := ops.New(ops.Deps{Pool: b.pool, Log: b.log}, ops.Options{})
	require.NoError(t, err)
	return engine
}

func (b *bundle) service(t *testing.T, engine *ops.Engine, runtime provision.Runtime, database provision.Database) *provision.Service {
	t.Helper()
	s, err := provision.New(provision.Deps{
		Pool: b.pool, Ops: engine, Tenants: b.tenants, Runtime: runtime, Database: database, Log: b.log,
	}, b.options)
	require.NoError(t, err)
	return s
}

// start registers everything and runs the engine until the test ends.
func (b *bundle) start(t *testing.T) {
	t.Helper()
	b.Register()
	require.NoError(t, b.ops.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = b.ops.Stop(ctx)
	})
}

// paid makes a tenant that is paid for.
func (b *bundle) paid(t *testing.T, name, plan string) tenants.Tenant {
	t.Helper()
	owner := accounts.Principal{Username: name, Email: name + "@example.test"}
	err := b.pool.QueryRow(t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $2, $2, 'x') RETURNING id`, owner.Email, name).Scan(&owner.AccountID)
	require.NoError(t, err)
	tenant, err := b.tenants.Create(t.Context(), owner, netip.MustParseAddr("192.0.2.7"), tenants.CreateInput{
		Name: name, Email: owner.Email, PlanID: plan,
	})
	require.NoError(t, err)
	require.NoError(t, postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
		activated, err := b.tenants.MarkPaidTx(t.Context(), tx, tenant.ID, "reference-"+name)
		require.True(t, activated)
		return err
	}))
	tenant, err = b.tenants.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	return tenant
}

func (b *bundle) enqueue(t *testing.T, id tenants.ID) {
	t.Helper()
	require.NoError(t, postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
		return provision.Enqueuer{Ops: b.ops}.EnqueueTx(t.Context(), tx, id)
	}))
}

// owner is the principal of the tenant's account.
func owner(tenant tenants.Tenant) accounts.Principal {
	return accounts.Principal{AccountID: tenant.AccountID, Username: tenant.Name, Email: tenant.Email}
}

func (b *bundle) events(t *testing.T, subject string) string {
	t.Helper()
	op, err := b.ops.Latest(t.Context(), subject)
	require.NoError(t, err)
	events, err := b.ops.Events(t.Context(), op.ID)
	require.NoError(t, err)
	out := fmt.Sprintf("%s: %s %s\n", op.State, op.Error, op.ErrorDetail)
	for _, e := range events {
		out += fmt.Sprintf("%s %s %s %s\n", e.At.Format("15:04:05.000"), e.Step, e.Event, e.Message)
	}
	return out
}
