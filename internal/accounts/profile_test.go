package accounts_test

import (
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
)

// unreachable returns dependencies whose database is down.
func unreachable(tb testing.TB) accounts.Deps {
	tb.Helper()
	pool, err := postgres.Open(tb.Context(), "postgres://u:p@127.0.0.1:1/x?sslmode=disable", postgres.Options{ConnectTimeout: time.Second})
	require.NoError(tb, err)
	tb.Cleanup(pool.Close)
	return accounts.Deps{Pool: pool, Audit: audit.New(pool), Log: slog.New(slog.DiscardHandler)}
}

func TestNew_NeedsItsParts(t *testing.T) {
	t.Parallel()
	deps := unreachable(t)
	_, err := accounts.New(deps, accounts.Options{})
	require.ErrorContains(t, err, "signing key")
	deps.Audit = nil
	_, err = accounts.New(deps, accounts.Options{SigningKey: signingKey})
	require.Error(t, err)
}

func TestUpdateMe(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.register(t, "alice")
	p := b.authenticate(t, b.login(t, "alice"))

	got, err := b.UpdateMe(t.Context(), p, b.ip, accounts.UpdateInput{})
	require.NoError(t, err)
	require.Equal(t, a, got)

	got, err = b.UpdateMe(t.Context(), p, b.ip, accounts.UpdateInput{FullName: new(" Alice ")})
	require.NoError(t, err)
	require.Equal(t, "Alice", got.FullName)
	require.Equal(t, a.Email, got.Email, "what isn't given stays")

	got, err = b.UpdateMe(t.Context(), p, b.ip, accounts.UpdateInput{FullName: new(""), Email: new("ALICE@example.com")})
	require.NoError(t, err)
	require.Empty(t, got.FullName)
	require.Equal(t, "ALICE@example.com", got.Email, "another spelling of one's own address is fine")

	me, err := b.Me(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, got, me)
	records, err := b.audit.List(t.Context(), audit.Filter{ActionPrefix: "account.update"})
	require.NoError(t, err)
	require.Len(t, records, 2)
	require.Equal(t, map[string]any{"full_name": []any{"Alice", ""}, "email": []any{a.Email, "ALICE@example.com"}}, records[0].Detail)
}

func TestUpdateMe_BadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	b.register(t, "bob")
	p := b.authenticate(t, b.login(t, "alice"))
	before, err := b.Me(t.Context(), p)
	require.NoError(t, err)
	for name, in := range map[string]accounts.UpdateInput{
		"taken name":   {Username: new("BOB")},
		"taken e-mail": {Email: new("Bob@example.com")},
	} {
		_, err := b.UpdateMe(t.Context(), p, b.ip, in)
		require.ErrorIs(t, err, accounts.ErrUserExists, name)
	}
	for name, in := range map[string]accounts.UpdateInput{
		"bob's e-mail as name": {Username: new("bob@example.com")},
		"empty name":           {Username: new("")},
		"empty e-mail":         {Email: new("")},
		"NUL":                  {FullName: new("a\x00")},
		"huge":                 {FullName: new(strings.Repeat("x", 1_000_000))},
	} {
		_, err := b.UpdateMe(t.Context(), p, b.ip, in)
		requireInvalid(t, err, 1)
		require.NotContains(t, err.Error(), "\x00", name)
	}
	_, err = b.UpdateMe(t.Context(), p, b.ip, accounts.UpdateInput{Username: new("x"), Email: new("x")})
	requireInvalid(t, err, 2)
	after, err := b.Me(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestMe_OfNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Me(t.Context(), accounts.System())
	require.ErrorIs(t, err, accounts.ErrNotFound)
	_, err = b.UpdateMe(t.Context(), accounts.System(), b.ip, accounts.UpdateInput{FullName: new("x")})
	require.ErrorIs(t, err, accounts.ErrNotFound)
}

// Inputs hold nothing that people may not set of themselves, so no decoder can set it by mistake.
func TestInputs_HoldNoRolesAndIDs(t *testing.T) {
	t.Parallel()
	names := func(v any) (out []string) {
		for f := range reflect.TypeOf(v).NumField() {
			out = append(out, reflect.TypeOf(v).Field(f).Name)
		}
		return out
	}
	require.ElementsMatch(t, []string{"Email", "Username", "Password", "FullName"}, names(accounts.RegisterInput{}))
	require.ElementsMatch(t, []string{"Email", "Username", "FullName"}, names(accounts.UpdateInput{}))
}

func TestOperator(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	root, err := b.CreateAdmin(t.Context(), accounts.RegisterInput{Email: "root@example.com", Username: "root", Password: password})
	require.NoError(t, err)
	require.True(t, root.Admin)
	require.True(t, b.authenticate(t, b.login(t, "root")).Admin)
	_, err = b.CreateAdmin(t.Context(), accounts.RegisterInput{Email: "root@example.com", Username: "root2", Password: password})
	require.ErrorIs(t, err, accounts.ErrUserExists)

	fresh, err := b.ResetPassword(t.Context(), "ROOT@example.com")
	require.NoError(t, err)
	_, err = b.Login(t.Context(), b.ip, "root", fresh)
	require.NoError(t, err)
	requireInvalid(t, b.SetPassword(t.Context(), "root", "weak"), 1)

	for _, login := range []string{"nobody", "", "\x00", "\xff"} {
		require.ErrorIs(t, b.SetDisabled(t.Context(), login, true), accounts.ErrNotFound)
		_, err = b.ResetPassword(t.Context(), login)
		require.ErrorIs(t, err, accounts.ErrNotFound)
	}
	require.NoError(t, b.SetDisabled(t.Context(), "alice", true))

	list, err := b.List(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "alice", list[0].Username)
	require.False(t, list[0].Active)
	list, err = b.List(t.Context(), list[0].ID, 1000)
	require.NoError(t, err)
	require.Equal(t, []accounts.Account{root}, list)
	require.Equal(t, []string{
		"alice account.register", "operator account.create_admin", "root account.login", "operator account.password_reset", "root account.login",
		"operator account.disable",
	}, b.actions(t))
}
