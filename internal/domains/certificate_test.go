package domains_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/certs"
	"controlplane/internal/domains"
	"controlplane/internal/errs"
)

// Owners read what they can do, never what the CA or our own machines have said.
func TestTrouble_HasASentenceForEachCause(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Empty(t, b.Trouble(certs.Record{Version: 1}))
	seen := map[string]bool{}
	at := time.Date(2026, 3, 2, 15, 4, 0, 0, time.UTC)
	for _, cause := range []certs.Cause{
		certs.NoName, certs.Unreachable, certs.Elsewhere, certs.Forbidden, certs.Refused, certs.TooMany, certs.Silent, certs.NoCA, certs.Other,
	} {
		text := b.Trouble(certs.Record{Cause: cause, Failures: 1, LastError: "raw words", RetryAt: at})
		require.NotEmpty(t, text, cause)
		require.NotContains(t, text, "raw")
		require.False(t, seen[text], "%s is told apart", cause)
		seen[text] = true
	}
	require.Contains(t, b.Trouble(certs.Record{Cause: certs.TooMany, Failures: 1, RetryAt: at}), "2026-03-02 15:04 UTC")
	require.NotEmpty(t, b.Trouble(certs.Record{Failures: 1, LastError: "from before there were causes"}))
}

// Certificate files are good for the platform's addresses. Where no CA is configured beside them an own domain would show nothing.
func TestWithoutACAThereAreNoOwnDomains(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	d := b.live(ada, acme, "erp.example.com")

	after := b.another(func(o *domains.Options) { o.NoCA = true })
	_, _, err := after.Add(t.Context(), ada, b.ip, acme.Name, "shop.example.com")
	require.ErrorIs(t, err, domains.ErrNoCA)
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	_, _, err = after.Add(t.Context(), ada, b.ip, acme.Name, "nonsense")
	require.ErrorIs(t, err, domains.ErrBadDomain)
	o, err := after.Of(t.Context(), ada, acme.Name)
	require.NoError(t, err)
	require.Len(t, o.Domains, 1)
	require.Contains(t, after.Trouble(o.Certificates[d.Name]), "no certificate authority", "one from before says why it has none")
	_, _, err = after.Remove(t.Context(), ada, b.ip, acme.Name, d.Name)
	require.NoError(t, err)
}
