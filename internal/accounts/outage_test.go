package accounts_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

func TestAll_SayThatTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	tokens := b.login(t, "alice")
	down, err := postgres.Open(t.Context(), "postgres://u:p@127.0.0.1:1/x?sslmode=disable", postgres.Options{ConnectTimeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(down.Close)
	b.pool = down
	s := b.replica(t)
	p := accounts.Principal{AccountID: 1, SessionID: "8c1f2a50-0d5b-4f5e-9d0a-0c7c3f5d2a11"}
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"register": func() error {
			_, err := s.Register(ctx, b.ip, accounts.RegisterInput{Email: "x@example.com", Username: "xyz", Password: password})
			return err
		},
		"login":        func() error { _, err := s.Login(ctx, b.ip, "alice", password); return err },
		"refresh":      func() error { _, err := s.Refresh(ctx, b.ip, tokens.Refresh); return err },
		"authenticate": func() error { _, err := s.Authenticate(ctx, tokens.Access.Reveal()); return err },
		"logout":       func() error { return s.Logout(ctx, p, b.ip) },
		"me":           func() error { _, err := s.Me(ctx, p); return err },
		"update":       func() error { _, err := s.UpdateMe(ctx, p, b.ip, accounts.UpdateInput{FullName: new("x")}); return err },
		"change":       func() error { _, err := s.ChangePassword(ctx, p, b.ip, password, other); return err },
		"disable":      func() error { return s.SetDisabled(ctx, "alice", true) },
		"list":         func() error { _, err := s.List(ctx, 0, 1); return err },
		"sweep":        func() error { _, err := s.DeleteExpired(ctx); return err },
	} {
		require.Equal(t, errs.Unavailable, errs.KindOf(call()), name)
	}
}
