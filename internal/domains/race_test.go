package domains_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/domains"
)

// together runs all at once and returns what each came to.
func together(calls ...func() error) []error {
	results := make([]error, len(calls))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, call := range calls {
		wg.Go(func() {
			<-start
			results[i] = call()
		})
	}
	close(start)
	wg.Wait()
	return results
}

func succeeded(results []error) (n int) {
	for _, err := range results {
		if err == nil {
			n++
		}
	}
	return n
}

const rounds = 100

func TestRace_OneClientClaimsADomainOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	for range rounds {
		add := func() error {
			_, _, err := b.Add(t.Context(), ada, b.ip, acme.Name, "erp.example.com")
			return err
		}
		results := together(add, add, add)
		require.Equal(t, 1, succeeded(results), "%v", results)
		for _, err := range results {
			require.True(t, err == nil || errors.Is(err, domains.ErrAlreadyAdded), "%v", err)
		}
		_, _, err := b.Remove(t.Context(), ada, b.ip, acme.Name, "erp.example.com")
		require.NoError(t, err)
	}
}

func TestRace_TheCapHolds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	for round := range rounds / 4 {
		var calls []func() error
		for i := range 8 {
			calls = append(calls, func() error {
				_, _, err := b.Add(t.Context(), ada, b.ip, acme.Name, fmt.Sprintf("d%d-%d.example.com", i, round))
				return err
			})
		}
		results := together(calls...)
		require.Equal(t, 5, succeeded(results), "%v", results)
		for _, d := range b.of(ada, acme) {
			_, _, err := b.Remove(t.Context(), ada, b.ip, acme.Name, d.Name)
			require.NoError(t, err)
		}
	}
}

// Both proofs are in the DNS: one gets the domain, and never both or none.
func TestRace_OneOfTwoProofsWins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	eve, evil := b.owner("evil")
	const name = "erp.example.com"
	b.zone.set(name, "A", edge4.String())
	for range rounds {
		b.zone.set("_odoo-hosting."+name, "TXT")
		b.prove(b.add(ada, acme, name))
		b.prove(b.add(eve, evil, name))
		for _, err := range together(
			func() error { _, err := b.Verify(t.Context(), ada, b.ip, acme.Name, name); return err },
			func() error { _, err := b.Verify(t.Context(), eve, b.ip, evil.Name, name); return err },
			func() error { _, err := b.CheckDue(t.Context()); return err },
		) {
			require.True(t, err == nil || errors.Is(err, domains.ErrNotFound), "%v", err)
		}
		require.Len(t, append(b.of(ada, acme), b.of(eve, evil)...), 1)
		require.Len(t, append(b.routed(acme), b.routed(evil)...), 1)
		_, _, one := b.Remove(t.Context(), ada, b.ip, acme.Name, name)
		_, _, other := b.Remove(t.Context(), eve, b.ip, evil.Name, name)
		require.Equal(t, 1, succeeded([]error{one, other}))
	}
}

// Whatever is done to a domain at once, what is left fits together: links never bear a domain that isn't the client's.
func TestRace_RemovalAgainstEverything(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, acme := b.owner("acme")
	eve, evil := b.owner("evil")
	const name = "erp.example.com"
	for range rounds {
		b.zone.set("_odoo-hosting."+name, "TXT")
		b.live(ada, acme, name)
		b.zone.set("_odoo-hosting."+name, "TXT")
		for _, err := range together(
			func() error { _, _, err := b.Remove(t.Context(), ada, b.ip, acme.Name, name); return err },
			func() error { _, err := b.SetPrimary(t.Context(), ada, b.ip, acme.Name, name); return err },
			func() error { _, err := b.Verify(t.Context(), ada, b.ip, acme.Name, name); return err },
			func() error { _, _, err := b.Add(t.Context(), eve, b.ip, evil.Name, name); return err },
		) {
			require.True(t, err == nil || errors.Is(err, domains.ErrNotFound) || errors.Is(err, domains.ErrInUse) || errors.Is(err, domains.ErrNotLive), "%v", err)
		}
		require.Empty(t, b.of(ada, acme))
		require.Equal(t, acme.Domain, b.tenant(acme.ID).PrimaryDomain)
		_, _, _ = b.Remove(t.Context(), eve, b.ip, evil.Name, name)
		_, err := b.pool.Exec(t.Context(), "UPDATE operations SET state = 'done', finished_at = now() WHERE finished_at IS NULL")
		require.NoError(t, err)
	}
}
