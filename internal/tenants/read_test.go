package tenants_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

func TestList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob, boss := b.account("ada"), b.account("bob"), b.admin()
	one, two, gone := b.create(ada, "one"), b.create(ada, "two"), b.create(bob, "gone")
	b.create(bob, "three")
	b.activate(two.ID)
	require.NoError(t, b.move(gone.ID, tenants.Pending, tenants.Deleted))
	require.NoError(t, b.move(one.ID, tenants.Pending, tenants.Scheduled))

	for name, tc := range map[string]struct {
		as     string
		filter tenants.ListFilter
		want   string
		total  int
	}{
		"own, without what is scheduled": {"ada", tenants.ListFilter{}, "two", 1},
		"own, with what is scheduled":    {"ada", tenants.ListFilter{IncludeScheduled: true}, "one two", 2},
		"asked for by status":            {"ada", tenants.ListFilter{State: ptr(tenants.Scheduled)}, "one", 1},
		"another state":                  {"ada", tenants.ListFilter{State: ptr(tenants.Suspended)}, "", 0},
		"deleted is nowhere":             {"boss", tenants.ListFilter{State: ptr(tenants.Deleted)}, "", 0},
		"the other's":                    {"bob", tenants.ListFilter{}, "three", 1},
		"everybody's for an admin":       {"boss", tenants.ListFilter{}, "one two three", 3},
		"a page":                         {"boss", tenants.ListFilter{Skip: 1, Limit: 1}, "two", 3},
		"behind the end":                 {"boss", tenants.ListFilter{Skip: math.MaxInt32}, "", 3},
	} {
		caller := map[string]accounts.Principal{"ada": ada, "bob": bob, "boss": boss}[tc.as]
		page, err := b.List(t.Context(), caller, tc.filter)
		require.NoError(t, err, name)
		require.Equal(t, tc.want, names(page.Tenants), name)
		require.Equal(t, tc.total, page.Total, name)
	}
}

func TestList_Bounds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	for want, filters := range map[error][]tenants.ListFilter{
		tenants.ErrBadLimit:     {{Limit: -1}, {Limit: 1001}, {Limit: math.MaxInt}},
		tenants.ErrBadSkip:      {{Skip: -1}, {Skip: math.MaxInt}},
		tenants.ErrUnknownState: {{State: ptr(tenants.State(""))}, {State: ptr(tenants.State("a\x00"))}, {State: ptr(tenants.State("ACTIVE"))}},
	} {
		for _, f := range filters {
			_, err := b.List(t.Context(), ada, f)
			require.ErrorIs(t, err, want, "%+v", f)
		}
	}
}

func TestGet_OthersAreNotFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob, boss := b.account("ada"), b.account("bob"), b.admin()
	b.create(ada, "acme")

	_, err := b.Get(t.Context(), bob, "acme")
	require.ErrorIs(t, err, tenants.ErrNotFound)
	_, err = b.Update(t.Context(), bob, b.ip, "acme", tenants.UpdateInput{Email: ptr("bob@example.test")})
	require.ErrorIs(t, err, tenants.ErrNotFound)
	_, err = b.Credentials(t.Context(), bob, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrNotFound)
	_, err = b.Get(t.Context(), boss, "acme")
	require.NoError(t, err)

	// The same contact e-mail gives no rights.
	sameMail := bob
	sameMail.Email = "contact@example.test"
	_, err = b.Get(t.Context(), sameMail, "acme")
	require.ErrorIs(t, err, tenants.ErrNotFound)

	for _, name := range []string{"", "ACME", "acme\x00", "acme'", "\xff", strings.Repeat("a", 1<<20), "%"} {
		_, err := b.Get(t.Context(), boss, name)
		require.ErrorIs(t, err, tenants.ErrNotFound, "%.20q", name)
	}
	_, err = b.ByID(t.Context(), 999)
	require.ErrorIs(t, err, tenants.ErrNotFound)
}

func TestPending_AdminsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	b.create(ada, "late")
	b.advance(1)
	b.create(ada, "later")
	b.activate(b.create(ada, "paid").ID)

	_, err := b.Pending(t.Context(), ada)
	require.ErrorIs(t, err, tenants.ErrAdminOnly)
	list, err := b.Pending(t.Context(), b.admin())
	require.NoError(t, err)
	require.Equal(t, "late later", names(list))
}

func TestUnpaidOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	b.create(ada, "basic-one")
	_, err := b.Create(t.Context(), ada, b.ip, tenants.CreateInput{Name: "big-one", Email: "a@b.test", PlanID: "business"})
	require.NoError(t, err)
	b.create(b.account("bob"), "not-hers")

	list, err := b.UnpaidOf(t.Context(), b.pool, ada.AccountID, "business")
	require.NoError(t, err)
	require.Equal(t, "big-one", names(list))
	list, err = b.UnpaidOf(t.Context(), b.pool, ada.AccountID, "")
	require.NoError(t, err)
	require.Equal(t, "basic-one big-one", names(list))
}

func TestLock_KeepsOthersOut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		locked, err := b.Lock(ctx, tx, tenant.ID)
		require.NoError(t, err)
		require.Equal(t, tenant, locked)
		var free int
		require.NoError(t, b.pool.QueryRow(ctx, "SELECT count(*) FROM (SELECT FROM tenants WHERE id = $1 FOR UPDATE SKIP LOCKED) x", tenant.ID).Scan(&free))
		require.Zero(t, free)
		return nil
	}))
}

func TestPlans(t *testing.T) {
	t.Parallel()
	b := setup(t)
	list, err := b.Plans(t.Context())
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, []string{"basic", "business", "enterprise"}, []string{list[0].ID, list[1].ID, list[2].ID})
	require.EqualValues(t, 14_400_000, list[0].AnnualKobo())
	require.EqualValues(t, 43_200_000, list[1].AnnualKobo())
	require.EqualValues(t, 115_200_000, list[2].AnnualKobo())
	require.Equal(t, []string{"contacts", "crm"}, list[0].Apps)

	for _, id := range []string{"", "gold", "basic\x00", "\xff", "Basic"} {
		_, err := b.Plan(t.Context(), id)
		require.ErrorIs(t, err, tenants.ErrUnknownPlan, "%q", id)
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	waiting, live, gone := b.create(ada, "waiting"), b.create(ada, "lively"), b.create(ada, "gone")
	b.activate(live.ID)
	require.NoError(t, b.move(gone.ID, tenants.Pending, tenants.Deleted))

	list, err := tenants.Routes(t.Context(), b.pool)
	require.NoError(t, err)
	require.Equal(t, []tenants.Route{
		{
			TenantID: waiting.ID, Name: "waiting", Host: "waiting.example.test", State: tenants.Pending, HTTPPort: 8069, EventPort: 8069,
			MaxBodyMB: 128, MaxConnections: 200,
		},
		{
			TenantID: live.ID, Name: "lively", Host: "lively.example.test", State: tenants.Active, Address: endpoint().Address, HTTPPort: 8069, EventPort: 8072,
			MaxBodyMB: 128, MaxConnections: 200,
		},
	}, list)

	route, ok, err := tenants.RouteOf(t.Context(), b.pool, live.ID)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, list[1], route)
	_, ok, err = tenants.RouteOf(t.Context(), b.pool, gone.ID)
	require.NoError(t, err)
	require.False(t, ok)
}

func TestNamesOf(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	one, gone := b.create(ada, "one"), b.create(ada, "gone")
	require.NoError(t, b.move(gone.ID, tenants.Pending, tenants.Deleted))
	names, err := b.NamesOf(t.Context(), []tenants.ID{one.ID, gone.ID, 999_999, one.ID})
	require.NoError(t, err)
	require.Equal(t, map[tenants.ID]string{one.ID: "one", gone.ID: "gone"}, names)
	names, err = b.NamesOf(t.Context(), nil)
	require.NoError(t, err)
	require.Empty(t, names)
}

func TestOfSubject(t *testing.T) {
	t.Parallel()
	id, ok := tenants.OfSubject(tenants.ID(42).Subject())
	require.True(t, ok)
	require.Equal(t, tenants.ID(42), id)
	for _, subject := range []string{"", "tenant/", "tenant/x", "tenant/-1", "tenant/0", "tenant/1/2", "tenants/1", "template/1", "tenant/99999999999999999999"} {
		_, ok := tenants.OfSubject(subject)
		require.False(t, ok, subject)
	}
}
