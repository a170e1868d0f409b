package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

type adminBundle struct {
	*accounts.Service
	closed int
}

func setupAdmin(t *testing.T) *adminBundle {
	t.Helper()
	pool := pgtest.New(t)
	s, err := accounts.New(accounts.Deps{Pool: pool, Audit: audit.New(pool), Log: slog.New(slog.DiscardHandler)},
		accounts.Options{SigningKey: "0123456789abcdef0123456789abcdef"})
	require.NoError(t, err)
	return &adminBundle{Service: s}
}

// run executes "admin args…" as a person would, and returns what it prints.
func (b *adminBundle) run(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := newAdminCommand(func(context.Context) (*accounts.Service, func(), error) {
		return b.Service, func() { b.closed++ }, nil
	}, newAdminRekeyCommand(func(context.Context) (int, error) { return 3, nil }))
	return execute(t, cmd, stdin, args...)
}

func execute(t *testing.T, cmd *cobra.Command, stdin string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

func shownPassword(t *testing.T, out string) secrets.Secret {
	t.Helper()
	_, password, found := strings.Cut(out, "password: ")
	require.True(t, found, out)
	return secrets.Secret(strings.TrimSpace(password))
}

func TestAdmin_RefusedLogins(t *testing.T) {
	t.Parallel()
	b := setupAdmin(t)
	_, err := b.run(t, "", "create", "root", "root@example.com")
	require.NoError(t, err)
	_, err = b.Login(t.Context(), netip.MustParseAddr("203.0.113.7"), "root", "Not-the-Password1!")
	require.ErrorIs(t, err, accounts.ErrBadCredentials)
	_, err = b.Login(t.Context(), netip.Addr{}, "somebody", "Not-the-Password1!")
	require.ErrorIs(t, err, accounts.ErrBadCredentials)
	out, err := b.run(t, "", "refused-logins")
	require.NoError(t, err)
	require.Regexp(t, `(?s)AT .*Z  - +-\n.*Z  root +203\.0\.113\.7\n$`, out)
	out, err = b.run(t, "", "refused-logins", "--limit", "1")
	require.NoError(t, err)
	require.NotContains(t, out, "root")
}

func TestAdmin_CreateShowsAPasswordOnce(t *testing.T) {
	t.Parallel()
	b := setupAdmin(t)
	out, err := b.run(t, "", "create", "root", "root@example.com", "--full-name", "The Operator")
	require.NoError(t, err)
	tokens, err := b.Login(t.Context(), netip.Addr{}, "root", shownPassword(t, out))
	require.NoError(t, err)
	p, err := b.Authenticate(t.Context(), tokens.Access.Reveal())
	require.NoError(t, err)
	require.True(t, p.Admin)

	_, err = b.run(t, "", "create", "ROOT", "other@example.com")
	require.EqualError(t, err, "User already exists")
	_, err = b.run(t, "", "create", "x", "y")
	require.ErrorContains(t, err, "3 to 64 characters")
	require.Equal(t, 3, b.closed, "the database is closed on each way out")
}

func TestAdmin_PasswordsFromStandardInput(t *testing.T) {
	t.Parallel()
	b := setupAdmin(t)
	out, err := b.run(t, "Correct-Horse9!\r\nmore\n", "create", "root", "root@example.com", "--password-stdin")
	require.NoError(t, err)
	require.NotContains(t, out, "Correct", "a password that is known already isn't shown")
	_, err = b.Login(t.Context(), netip.Addr{}, "root", "Correct-Horse9!")
	require.NoError(t, err)

	out, err = b.run(t, "Battery-Staple7?", "reset-password", "root@example.com", "--password-stdin")
	require.NoError(t, err)
	require.NotContains(t, out, "Battery")
	_, err = b.Login(t.Context(), netip.Addr{}, "root", "Battery-Staple7?")
	require.NoError(t, err)

	for _, stdin := range []string{"", "\n", "weak\n", strings.Repeat("Aa1!", 100_000)} {
		_, err = b.run(t, stdin, "reset-password", "root", "--password-stdin")
		require.ErrorContains(t, err, "password")
	}
}

func TestAdmin_ResetDisableEnableList(t *testing.T) {
	t.Parallel()
	b := setupAdmin(t)
	_, err := b.run(t, "", "create", "root", "root@example.com")
	require.NoError(t, err)
	out, err := b.run(t, "", "reset-password", "root")
	require.NoError(t, err)
	password := shownPassword(t, out)

	_, err = b.run(t, "", "disable", "root")
	require.NoError(t, err)
	_, err = b.Login(t.Context(), netip.Addr{}, "root", password)
	require.ErrorIs(t, err, accounts.ErrDisabled)
	out, err = b.run(t, "", "list")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^1 +root +root@example.com +admin +disabled +20`, out)
	_, err = b.run(t, "", "enable", "root")
	require.NoError(t, err)
	_, err = b.Login(t.Context(), netip.Addr{}, "root", password)
	require.NoError(t, err)

	for _, verb := range []string{"disable", "enable", "reset-password"} {
		_, err = b.run(t, "", verb, "nobody")
		require.EqualError(t, err, "There is no such account.")
	}
}

func TestAdmin_BadArguments(t *testing.T) {
	t.Parallel()
	b := setupAdmin(t)
	for _, args := range [][]string{
		{"create"},
		{"create", "root"},
		{"create", "root", "root@example.com", "Secret-In-Argv1!"},
		{"disable"},
		{"list", "x"},
		{"nonsense"},
		{"create", "root", "root@example.com", "--password", "x"},
	} {
		_, err := b.run(t, "", args...)
		require.Error(t, err, args)
	}
	list, err := b.List(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestAdmin_RekeyAndHelp(t *testing.T) {
	t.Parallel()
	b := &adminBundle{}
	out, err := b.run(t, "", "rekey")
	require.NoError(t, err)
	require.Equal(t, "3 rows sealed again\n", out)
	out, err = b.run(t, "", "--help")
	require.NoError(t, err)
	for _, verb := range []string{"create", "disable", "enable", "list", "rekey", "reset-password"} {
		require.Contains(t, out, verb)
	}
}

func TestAdmin_NoDatabase(t *testing.T) {
	t.Parallel()
	boom := errors.New("DATABASE_URL is missing")
	cmd := newAdminCommand(func(context.Context) (*accounts.Service, func(), error) { return nil, nil, boom })
	_, err := execute(t, cmd, "", "list")
	require.ErrorIs(t, err, boom)
}
