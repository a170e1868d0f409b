package accounts_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/secrets"
)

func TestTicket_IsGoodOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	p := b.authenticate(t, b.login(t, "alice"))
	ticket, err := b.IssueTicket(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, b.clock.Now().Add(accounts.TicketTTL), ticket.ExpiresAt)
	require.NotContains(t, b.logs.String(), ticket.Secret.Reveal())

	got, err := b.RedeemTicket(t.Context(), ticket.Secret)
	require.NoError(t, err)
	require.Equal(t, p, got)
	_, err = b.RedeemTicket(t.Context(), ticket.Secret)
	require.ErrorIs(t, err, accounts.ErrBadTicket)
}

func TestTicket_OneOfManyUsersGetsIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.register(t, "alice")
	ticket, err := b.IssueTicket(t.Context(), b.authenticate(t, b.login(t, "alice")))
	require.NoError(t, err)
	results := make(chan error, 20)
	for range cap(results) {
		go func() {
			_, err := b.RedeemTicket(t.Context(), ticket.Secret)
			results <- err
		}()
	}
	var in int
	for range cap(results) {
		if err := <-results; err == nil {
			in++
		} else {
			require.ErrorIs(t, err, accounts.ErrBadTicket)
		}
	}
	require.Equal(t, 1, in)
}

func TestTicket_EndsWithItsTimeAndItsSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	alice := b.register(t, "alice")
	tokens := b.login(t, "alice")
	p := b.authenticate(t, tokens)
	issue := func() secrets.Secret {
		ticket, err := b.IssueTicket(t.Context(), p)
		require.NoError(t, err)
		return ticket.Secret
	}
	late := issue()
	b.clock.Advance(accounts.TicketTTL)
	_, err := b.RedeemTicket(t.Context(), late)
	require.ErrorIs(t, err, accounts.ErrBadTicket)
	_, err = b.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Zero(t, b.count(t, "event_tickets"))

	revoked := issue()
	require.NoError(t, b.Logout(t.Context(), p, b.ip))
	_, err = b.RedeemTicket(t.Context(), revoked)
	require.ErrorIs(t, err, accounts.ErrBadTicket)
	_, err = b.Renew(t.Context(), p)
	require.ErrorIs(t, err, accounts.ErrBadToken)
	require.Equal(t, p.AccountID, alice.ID)
}

func TestTicket_BadShapes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, text := range []string{"", "et_", "x", strings.Repeat("a", 46), "et_" + strings.Repeat("A", 43), "et_" + strings.Repeat("\x00", 43), strings.Repeat("x", 100_000)} {
		_, err := b.RedeemTicket(t.Context(), secrets.Secret(text))
		require.ErrorIs(t, err, accounts.ErrBadTicket)
	}
	_, err := b.IssueTicket(t.Context(), accounts.System())
	require.ErrorIs(t, err, accounts.ErrNotAuthenticated)
	_, err = b.Renew(t.Context(), accounts.System())
	require.ErrorIs(t, err, accounts.ErrBadToken)
}
