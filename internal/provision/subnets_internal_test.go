package provision

import (
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/tenants"
)

func setupSubnets(t *testing.T, supernet string, tenantCount int) (*pgxpool.Pool, subnets) {
	t.Helper()
	pool := pgtest.New(t)
	_, err := pool.Exec(t.Context(), `
		WITH a AS (INSERT INTO accounts (email, email_key, username, username_key, password_hash) VALUES ('a@b', 'a@b', 'anna', 'anna', 'x') RETURNING id)
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline)
		SELECT a.id, 'name-' || n, 'odoo_name_' || n, 'd' || n, 'a@b', 'basic', 'pending', now() FROM a, generate_series(1, $1::int) n`, tenantCount)
	require.NoError(t, err)
	nets, err := newSubnets(netip.MustParsePrefix(supernet))
	require.NoError(t, err)
	return pool, nets
}

func allocate(t *testing.T, pool *pgxpool.Pool, nets subnets, id tenants.ID) (netip.Prefix, error) {
	t.Helper()
	var subnet netip.Prefix
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		subnet, err = nets.allocate(t.Context(), tx, id)
		return err
	})
	return subnet, err
}

func TestSubnetsAreAllocatedOnce(t *testing.T) {
	t.Parallel()
	pool, nets := setupSubnets(t, "10.99.0.0/16", 20)
	got := make([]netip.Prefix, 20)
	var g errgroup.Group
	for i := range got {
		g.Go(func() (err error) {
			got[i], err = allocate(t, pool, nets, tenants.ID(i+1))
			return err
		})
	}
	require.NoError(t, g.Wait())
	seen := map[netip.Prefix]bool{}
	for _, subnet := range got {
		require.False(t, seen[subnet], "%s was given away twice", subnet)
		seen[subnet] = true
		require.True(t, nets.supernet.Contains(subnet.Addr()))
		require.Equal(t, 28, subnet.Bits())
	}
	require.False(t, seen[netip.MustParsePrefix("10.99.0.0/28")], "the first ones are for networks of our own")
	again, err := allocate(t, pool, nets, 7)
	require.NoError(t, err)
	require.Equal(t, got[6], again)
}

func TestAFreedSubnetRestsADay(t *testing.T) {
	t.Parallel()
	pool, nets := setupSubnets(t, "10.99.0.0/24", 20)
	for id := range 12 { // 16 less the 4 of our own
		_, err := allocate(t, pool, nets, tenants.ID(id+1))
		require.NoError(t, err)
	}
	first, err := subnetOf(t.Context(), pool, 1)
	require.NoError(t, err)
	require.Equal(t, "10.99.0.64/28", first.String())
	require.Equal(t, "10.99.0.65", gatewayOf(first).String())
	require.Equal(t, "10.99.0.66", containerOf(first).String())
	require.Equal(t, "10.99.0.66", addressOf(tenants.Tenant{}, first).String())
	require.Equal(t, "10.99.0.78", addressOf(tenants.Tenant{QuarantinedAt: new(time.Time)}, first).String())
	require.Equal(t, []string{"0.0.0.15", "0.0.0.14"}, []string{hostMask().String(), quarantineHost().String()})

	_, err = allocate(t, pool, nets, 13)
	require.ErrorIs(t, err, ErrNoSubnet)
	require.ErrorContains(t, err, "12 subnets")
	for range 2 {
		require.NoError(t, postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return releaseSubnet(t.Context(), tx, 1) }))
	}
	_, err = allocate(t, pool, nets, 13)
	require.ErrorIs(t, err, ErrNoSubnet, "it rests")
	_, err = pool.Exec(t.Context(), "UPDATE tenant_subnets SET released_at = now() - interval '25 hours' WHERE tenant_id IS NULL")
	require.NoError(t, err)

	// One edge has been cut off for two days, so it doesn't know who is gone; another is dead for good.
	now := time.Now()
	note := func(edge string, age time.Duration) {
		require.NoError(t, tenants.NoteEdge(t.Context(), pool, edge, now.Add(-age)))
	}
	_, err = pool.Exec(t.Context(), "INSERT INTO edges (id, as_of) VALUES ('00000000000000dd', now() - interval '16 days')")
	require.NoError(t, err)
	_, err = allocate(t, pool, nets, 13)
	require.NoError(t, err, "an edge that has stopped by itself holds nothing up")
	require.NoError(t, postgres.InTx(t.Context(), pool, func(tx pgx.Tx) error { return releaseSubnet(t.Context(), tx, 13) }))
	_, err = pool.Exec(t.Context(), "UPDATE tenant_subnets SET released_at = now() - interval '25 hours' WHERE tenant_id IS NULL")
	require.NoError(t, err)
	note("00000000000000aa", 0)
	note("00000000000000bb", 48*time.Hour)
	_, err = allocate(t, pool, nets, 14)
	require.ErrorIs(t, err, ErrNoSubnet, "its edge may still lead to it")
	note("00000000000000bb", 24*time.Hour)
	subnet, err := allocate(t, pool, nets, 14)
	require.NoError(t, err)
	require.Equal(t, first, subnet)
}
