package accounts_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/ratelimit"
	"controlplane/internal/secrets"
)

func TestLogin_ByUserNameOrEmail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.register(t, "Alice")
	for _, login := range []string{"Alice", " alice ", "ＡＬＩＣＥ", "alice@EXAMPLE.com"} {
		tokens, err := b.Login(t.Context(), b.ip, login, password)
		require.NoError(t, err, login)
		require.Equal(t, 30*time.Minute, tokens.ExpiresIn)
		p := b.authenticate(t, tokens)
		require.Equal(t, accounts.Principal{AccountID: a.ID, Username: "Alice", Email: "Alice@example.com", SessionID: p.SessionID}, p)
	}
}

func TestLogin_BadInputIsJustWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	huge := strings.Repeat("x", 1_000_000)
	for name, in := range map[string]struct {
		login    string
		password secrets.Secret
	}{
		"nothing":               {"", ""},
		"no password":           {"alice", ""},
		"wrong password":        {"alice", other},
		"unknown user":          {"bob", password},
		"unknown e-mail":        {"bob@example.com", password},
		"NUL":                   {"ali\x00ce", password},
		"NUL after":             {"alice\x00", password},
		"invalid UTF-8":         {"alice\xff", password},
		"huge login":            {huge, password},
		"huge password":         {"alice", secrets.Secret(huge)},
		"right password + more": {"alice", password + secrets.Secret(strings.Repeat("x", 1000))},
		"invalid password":      {"alice", "\xff\xfe"},
		"SQL":                   {"' OR 1=1 --", password},
		"look-alike":            {"аlice", password},
	} {
		_, err := b.Login(t.Context(), b.ip, in.login, in.password)
		require.ErrorIs(t, err, accounts.ErrBadCredentials, name)
		b.freeTries(t)
	}
	require.Zero(t, b.count(t, "sessions"))
}

func TestLogin_UnknownUserCostsWhatAWrongPasswordCosts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	cost := func(login string, password secrets.Secret) int64 {
		before := b.HashesComputed()
		_, err := b.Login(t.Context(), b.ip, login, password)
		require.ErrorIs(t, err, accounts.ErrBadCredentials)
		return b.HashesComputed() - before
	}
	require.Equal(t, int64(1), cost("alice", other))
	require.Equal(t, int64(1), cost("nobody", other))
	require.Equal(t, int64(1), cost("nobody\x00", other))
	require.Equal(t, int64(1), cost("alice", secrets.Secret(strings.Repeat("x", 10_000))))
	failures, err := b.RefusedLogins(t.Context(), 10)
	require.NoError(t, err)
	var names []string
	for _, f := range failures {
		require.Equal(t, b.ip, f.IP)
		names = append(names, f.Username)
	}
	require.Equal(t, []string{"alice", "", "", "alice"}, names, "and leaves as many traces")
	require.Equal(t, []string{"alice account.register"}, b.actions(t), "which aren't kept for ever")
	b.clock.Advance(31 * 24 * time.Hour)
	_, err = b.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Zero(t, b.count(t, "login_failures"))
}

func TestLogin_LimitedPerAccountByWhicheverName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	replica := b.replica(t)
	for _, login := range []string{"alice", "ALICE", "alice@example.com", " alice", "Alice@Example.com"} {
		_, err := replica.Login(t.Context(), b.ip, login, other)
		require.ErrorIs(t, err, accounts.ErrBadCredentials)
	}
	hashed := b.HashesComputed()
	_, err := b.Login(t.Context(), b.ip, "alice", password)
	require.ErrorIs(t, err, ratelimit.ErrLimited)
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	require.Positive(t, e.RetryAfter)
	require.Equal(t, hashed, b.HashesComputed(), "a refused try costs nothing")

	b.register(t, "bob")
	b.login(t, "bob")
	for range 5 {
		_, err = b.Login(t.Context(), b.ip, "nobody", password)
		require.ErrorIs(t, err, accounts.ErrBadCredentials)
	}
	_, err = b.Login(t.Context(), b.ip, "nobody", password)
	require.ErrorIs(t, err, ratelimit.ErrLimited, "one that doesn't exist is limited just the same")
}

func TestLogin_DisabledIsToldOnlyWithTheRightPassword(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	require.NoError(t, b.SetDisabled(t.Context(), "alice", true))
	_, err := b.Login(t.Context(), b.ip, "alice", other)
	require.ErrorIs(t, err, accounts.ErrBadCredentials)
	_, err = b.Login(t.Context(), b.ip, "alice", password)
	require.ErrorIs(t, err, accounts.ErrDisabled)
	require.Equal(t, errs.Forbidden, errs.KindOf(err))
	require.NoError(t, b.SetDisabled(t.Context(), "alice", false))
	b.login(t, "alice")
}

func TestLogin_ManyAtOnceShareTheHashingSlots(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.LessOrEqual(t, b.HashesAtOnce(), 64, "19 MiB each")
	var g errgroup.Group
	var refused atomic.Int32
	for i := range 30 {
		g.Go(func() error {
			_, err := b.Login(t.Context(), b.ip, "nobody"+string(rune('a'+i)), password)
			if errors.Is(err, accounts.ErrBadCredentials) {
				refused.Add(1)
				return nil
			}
			return err
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int32(30), refused.Load())
}

func TestLogin_NothingSecretIsWrittenDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	tokens := b.login(t, "alice")
	_, err := b.Login(t.Context(), b.ip, password.Reveal(), password) // typed into the wrong box
	require.ErrorIs(t, err, accounts.ErrBadCredentials)
	fresh, err := b.Refresh(t.Context(), b.ip, tokens.Refresh)
	require.NoError(t, err)
	_, err = b.Refresh(t.Context(), b.ip, tokens.Refresh)
	require.ErrorIs(t, err, accounts.ErrBadToken)

	dump := b.logs.String()
	for _, table := range []string{"accounts", "sessions", "refresh_tokens", "activity_log"} {
		var rows string
		require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(x::text, ' '), '') FROM "+table+" x").Scan(&rows))
		dump += rows
	}
	for _, secret := range []secrets.Secret{password, signingKey, tokens.Access, tokens.Refresh, fresh.Access, fresh.Refresh} {
		require.NotContains(t, dump, secret.Reveal())
		require.NotContains(t, strings.ToLower(dump), strings.ToLower(secret.Reveal()))
	}
	require.Contains(t, b.logs.String(), "refresh token reused")
}
