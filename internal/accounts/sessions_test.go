package accounts_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/accounts"
	"controlplane/internal/ratelimit"
	"controlplane/internal/secrets"
)

func TestRefresh_RotatesWithinTheSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	first := b.login(t, "alice")
	before := b.authenticate(t, first)

	b.clock.Advance(6 * 24 * time.Hour)
	second, err := b.Refresh(t.Context(), b.ip, first.Refresh)
	require.NoError(t, err)
	require.NotEqual(t, first.Refresh, second.Refresh)
	require.Equal(t, before, b.authenticate(t, second), "the session stays the same")

	b.clock.Advance(6 * 24 * time.Hour)
	third, err := b.Refresh(t.Context(), b.ip, second.Refresh)
	require.NoError(t, err, "a session in use is prolonged")
	b.clock.Advance(7 * 24 * time.Hour)
	_, err = b.Refresh(t.Context(), b.ip, third.Refresh)
	require.ErrorIs(t, err, accounts.ErrBadToken, "an unused one ends after 7 days")
}

func TestRefresh_ReuseEndsTheSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	bystander := b.login(t, "alice")
	first := b.login(t, "alice")
	second, err := b.Refresh(t.Context(), b.ip, first.Refresh)
	require.NoError(t, err)
	_, err = b.Refresh(t.Context(), b.ip, first.Refresh)
	require.ErrorIs(t, err, accounts.ErrBadToken)
	b.requireEnded(t, second)
	b.authenticate(t, bystander)
	require.Contains(t, b.actions(t), "alice account.refresh_reused")
}

func TestRefresh_ParallelUseHasOneWinner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	replica := b.replica(t)
	b.register(t, "alice")
	tokens := b.login(t, "alice")
	var won, lost atomic.Int32
	var g errgroup.Group
	for i := range 10 {
		service := []*accounts.Service{b.Service, replica}[i%2]
		g.Go(func() error {
			_, err := service.Refresh(t.Context(), b.ip, tokens.Refresh)
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, accounts.ErrBadToken):
				lost.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int32(1), won.Load())
	require.Equal(t, int32(9), lost.Load())
	_, err := b.Authenticate(t.Context(), tokens.Access.Reveal())
	require.ErrorIs(t, err, accounts.ErrBadToken, "using a token twice ends the session, whoever was first")
}

func TestRefresh_BadTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	tokens := b.login(t, "alice")
	good := tokens.Refresh.Reveal()
	for name, token := range map[string]string{
		"nothing":        "",
		"an access one":  tokens.Access.Reveal(),
		"unknown":        good[:len(good)-4] + "AAAA",
		"cut off":        good[:len(good)-1],
		"with a blank":   good + " ",
		"NUL":            good[:len(good)-1] + "\x00",
		"other alphabet": good[:len(good)-1] + "=",
		"invalid UTF-8":  good[:len(good)-1] + "\xff",
	} {
		_, err := b.Refresh(t.Context(), b.ip, secrets.Secret(token))
		require.ErrorIs(t, err, accounts.ErrBadToken, name)
	}
	_, err := b.Refresh(t.Context(), b.ip, tokens.Refresh)
	require.NoError(t, err, "none of them has harmed the session")
}

func TestSessions_EndAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, b *bundle, p accounts.Principal){
		"logout": func(t *testing.T, b *bundle, p accounts.Principal) {
			t.Helper()
			require.NoError(t, b.Logout(t.Context(), p, b.ip))
			require.NoError(t, b.Logout(t.Context(), p, b.ip), "a repeat does nothing")
		},
		"password change": func(t *testing.T, b *bundle, p accounts.Principal) {
			t.Helper()
			_, err := b.ChangePassword(t.Context(), p, b.ip, password, other)
			require.NoError(t, err)
		},
		"disabled": func(t *testing.T, b *bundle, _ accounts.Principal) {
			t.Helper()
			require.NoError(t, b.SetDisabled(t.Context(), "alice@example.com", true))
			require.NoError(t, b.SetDisabled(t.Context(), "alice", true), "a repeat does nothing")
		},
		"disabled and enabled": func(t *testing.T, b *bundle, _ accounts.Principal) {
			t.Helper()
			require.NoError(t, b.SetDisabled(t.Context(), "alice", true))
			require.NoError(t, b.SetDisabled(t.Context(), "alice", false))
		},
		"reset": func(t *testing.T, b *bundle, _ accounts.Principal) {
			t.Helper()
			_, err := b.ResetPassword(t.Context(), "alice")
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.register(t, "alice")
			b.register(t, "bob")
			tokens, bob := b.login(t, "alice"), b.login(t, "bob")
			end(t, b, b.authenticate(t, tokens))
			b.requireEnded(t, tokens)
			b.authenticate(t, bob)
		})
	}
}

func TestLogout_EndsOnlyItsOwnSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	one, two := b.login(t, "alice"), b.login(t, "alice")
	p := b.authenticate(t, one)
	p.AccountID++
	require.NoError(t, b.Logout(t.Context(), p, b.ip))
	b.authenticate(t, one)
	p.AccountID--
	require.NoError(t, b.Logout(t.Context(), p, b.ip))
	b.requireEnded(t, one)
	b.authenticate(t, two)
	require.NoError(t, b.Logout(t.Context(), accounts.System(), b.ip))
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	old, elsewhere := b.login(t, "alice"), b.login(t, "alice")
	p := b.authenticate(t, old)

	_, err := b.ChangePassword(t.Context(), p, b.ip, "wrong", other)
	require.ErrorIs(t, err, accounts.ErrWrongPassword)
	_, err = b.ChangePassword(t.Context(), p, b.ip, password, "weak")
	requireInvalid(t, err, 1)
	b.authenticate(t, elsewhere)

	fresh, err := b.ChangePassword(t.Context(), p, b.ip, password, other)
	require.NoError(t, err)
	b.requireEnded(t, old)
	b.requireEnded(t, elsewhere)
	require.Equal(t, p.AccountID, b.authenticate(t, fresh).AccountID, "who changed it goes on with new tokens")
	_, err = b.Login(t.Context(), b.ip, "alice", password)
	require.ErrorIs(t, err, accounts.ErrBadCredentials)
	b.freeTries(t)
	_, err = b.Login(t.Context(), b.ip, "alice", other)
	require.NoError(t, err)
}

func TestChangePassword_GuessingTheOldOneIsLimited(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	p := b.authenticate(t, b.login(t, "alice"))
	for range 4 {
		_, err := b.ChangePassword(t.Context(), p, b.ip, "wrong", other)
		require.ErrorIs(t, err, accounts.ErrWrongPassword)
	}
	_, err := b.ChangePassword(t.Context(), p, b.ip, password, other)
	require.ErrorIs(t, err, ratelimit.ErrLimited, "together with the log-in")
}

func TestChangePassword_ParallelHasOneWinner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	p := b.authenticate(t, b.login(t, "alice"))
	b.freeTries(t)
	var won atomic.Int32
	var g errgroup.Group
	for range 4 {
		g.Go(func() error {
			_, err := b.ChangePassword(t.Context(), p, b.ip, password, accounts.NewPassword())
			if err == nil {
				won.Add(1)
			} else if !errors.Is(err, accounts.ErrWrongPassword) {
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int32(1), won.Load())
}

// A log-in that has checked the old password while it is being changed must not leave a session behind.
func TestLogin_RacingAPasswordResetLeavesNoSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	for range 4 {
		b.freeTries(t)
		require.NoError(t, b.SetPassword(t.Context(), "alice", password))
		var sessions [4]accounts.Tokens
		var g errgroup.Group
		for i := range sessions {
			g.Go(func() error {
				var err error
				sessions[i], err = b.Login(t.Context(), b.ip, "alice", password)
				if errors.Is(err, accounts.ErrBadCredentials) {
					return nil
				}
				return err
			})
		}
		g.Go(func() error { return b.SetPassword(t.Context(), "alice", other) })
		require.NoError(t, g.Wait())
		for _, tokens := range sessions {
			if tokens.Access != "" {
				b.requireEnded(t, tokens)
			}
		}
	}
}

func TestDeleteExpired_KeepsWhatStillMatters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	old := b.login(t, "alice")
	b.clock.Advance(5 * 24 * time.Hour)
	live := b.login(t, "alice")
	next, err := b.Refresh(t.Context(), b.ip, live.Refresh)
	require.NoError(t, err)

	b.clock.Advance(3 * 24 * time.Hour)
	n, err := b.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n, "the session that nobody used; its tokens go with it")
	require.Equal(t, 1, b.count(t, "sessions"))
	require.Equal(t, 2, b.count(t, "refresh_tokens"), "a used token stays, so that its reuse is noticed")
	_, err = b.Refresh(t.Context(), b.ip, old.Refresh)
	require.ErrorIs(t, err, accounts.ErrBadToken)
	_, err = b.Refresh(t.Context(), b.ip, live.Refresh)
	require.ErrorIs(t, err, accounts.ErrBadToken)
	b.requireEnded(t, next)

	b.clock.Advance(8 * 24 * time.Hour)
	_, err = b.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Zero(t, b.count(t, "sessions")+b.count(t, "refresh_tokens"))
}
