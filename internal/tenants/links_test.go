package tenants_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// domain gives a tenant an own domain; this package doesn't test how they are proven.
func (b *bundle) domain(id tenants.ID, domain string, proven bool) {
	b.t.Helper()
	sql := `INSERT INTO tenant_domains (tenant_id, domain, display, token, created_at, next_check_at, expires_at)
		VALUES ($1, $2, $2, repeat('a', 32), now(), now(), now())`
	if proven {
		sql = `INSERT INTO tenant_domains (tenant_id, domain, display, token, created_at, next_check_at, verified_at, status)
			VALUES ($1, $2, $2, repeat('a', 32), now(), now(), now(), 'live')`
	}
	_, err := b.pool.Exec(b.t.Context(), sql, id, domain)
	require.NoError(b.t, err)
}

func TestRoutes_HaveProvenDomains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.create(b.account("ada"), "acme")
	b.activate(acme.ID)
	b.domain(acme.ID, "b.example.com", true)
	b.domain(acme.ID, "a.example.com", true)
	b.domain(acme.ID, "claimed.example.com", false)
	route, found, err := tenants.RouteOf(t.Context(), b.pool, acme.ID)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, []string{"a.example.com", "b.example.com"}, route.Domains)
}

func TestCreate_RefusesWhatAnotherHasProven(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, eve := b.account("ada"), b.account("eve")
	acme := b.create(ada, "acme")
	b.domain(acme.ID, "xn--bcher-kva.example", true)
	b.domain(acme.ID, "claimed.example.com", false)
	for _, domain := range []string{"xn--bcher-kva.example", "Bücher.example", " BÜCHER.example. "} {
		_, err := b.Create(t.Context(), eve, b.ip, tenants.CreateInput{Name: "other", Domain: domain, Email: "x@example.test"})
		require.ErrorIs(t, err, tenants.ErrDomainTaken, domain)
	}
	_, err := b.Create(t.Context(), eve, b.ip, tenants.CreateInput{Name: "other", Domain: "claimed.example.com", Email: "x@example.test"})
	require.NoError(t, err, "a claim is no proof")
}

func TestDeletion_FreesDomains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.create(b.account("ada"), "acme")
	b.activate(acme.ID)
	b.domain(acme.ID, "a.example.com", true)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		_, err := b.SetPrimaryDomainTx(ctx, tx, acme.ID, "a.example.com")
		return err
	}))
	require.NoError(t, b.move(acme.ID, tenants.Active, tenants.Deleting))
	require.Equal(t, 1, b.count("FROM tenant_domains"))
	require.NoError(t, b.move(acme.ID, tenants.Deleting, tenants.Deleted))
	require.Zero(t, b.count("FROM tenant_domains"))
}

func TestLinks_FollowThePrimaryDomain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.create(b.account("ada"), "acme")
	b.activate(acme.ID)
	b.domain(acme.ID, "a.example.com", true)
	choose := func(domain string) (op *ops.Operation) {
		require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
			got, err := b.SetPrimaryDomainTx(ctx, tx, acme.ID, domain)
			if err == nil {
				op, err = b.LinksTx(ctx, tx, got)
			}
			return err
		}))
		return op
	}
	require.Nil(t, choose(""), "it is so already")
	op := choose("a.example.com")
	require.Equal(t, tenants.LinksKind, op.Kind)
	require.Nil(t, choose("a.example.com"), "it is being done")
	got, err := b.ByID(t.Context(), acme.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"a.example.com", "acme.example.test"}, []string{got.PrimaryDomain, got.LinkDomain})

	require.NoError(t, b.ops.Abandon(t.Context(), op.ID, "test"))
	require.NoError(t, b.NoteLinksFailed(t.Context(), acme.ID))
	follow := func() int {
		n, err := b.FollowLinks(t.Context())
		require.NoError(t, err)
		return n
	}
	require.Zero(t, follow(), "it rests")
	b.advance(61 * time.Minute)
	require.Equal(t, 1, follow())
	require.Zero(t, follow(), "it is being done")
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		got, err = b.MarkLinkedTx(ctx, tx, acme.ID, "a.example.com")
		return err
	}))
	require.Equal(t, "a.example.com", got.LinkDomain)

	_, err = b.pool.Exec(t.Context(), "DELETE FROM tenant_domains")
	require.NoError(t, err)
	got, err = b.ByID(t.Context(), acme.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"acme.example.test", "a.example.com"}, []string{got.PrimaryDomain, got.LinkDomain}, "back, and the links are to follow")
}

func TestPrimaryDomain_IsOneOfItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	acme, other := b.create(ada, "acme"), b.create(ada, "other")
	b.domain(other.ID, "a.example.com", true)
	require.Error(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		_, err := b.SetPrimaryDomainTx(ctx, tx, acme.ID, "a.example.com")
		return err
	}))
}

func TestForgetLinks_SetsThemAnew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	acme := b.create(b.account("ada"), "acme")
	b.activate(acme.ID)
	end := func() {
		_, err := b.pool.Exec(t.Context(), "UPDATE operations SET state = 'done', finished_at = now()")
		require.NoError(t, err)
	}
	end()
	n, err := b.FollowLinks(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.ForgetLinksTx(ctx, tx, acme.ID) }))
	n, err = b.FollowLinks(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n, "also those that should bear the platform address")
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		_, err := b.MarkLinkedTx(ctx, tx, acme.ID, acme.Domain)
		return err
	}))
	end()
	n, err = b.FollowLinks(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}
