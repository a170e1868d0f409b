package acme_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/acme"
	"controlplane/internal/acme/acmetest"
	"controlplane/internal/certs"
	"controlplane/internal/secrets"
)

// Whatever hangs, be it other new domains, renewals or what has failed before, a new domain doesn't wait for it.
func TestNothingHoldsUpANewDomain(t *testing.T) {
	t.Parallel()
	var stuck []string
	for i := range 4 {
		stuck = append(stuck, fmt.Sprintf("renewed%d.test", i), fmt.Sprintf("failed%d.test", i), fmt.Sprintf("slow%d.test", i))
	}
	b := setup(t, slices.Clone(stuck))
	chain, key := acmetest.SelfSigned(t, b.now, "old.test")
	for i := range 4 {
		require.NoError(t, b.store.Fail(t.Context(), fmt.Sprintf("failed%d.test", i), certs.Failure{Reason: "it hung", RetryAt: b.now}, b.now))
		require.NoError(t, b.store.Save(t.Context(), certs.Certificate{
			Host: fmt.Sprintf("renewed%d.test", i), Names: []string{"old.test"}, Issuer: b.ca.Directory, Chain: string(chain), Key: secrets.Secret(key), NotBefore: b.now.AddDate(0, 0, -80), NotAfter: b.now.AddDate(0, 0, 10),
		}, b.now))
	}
	hangs := make(chan string, len(stuck))
	keeper := acme.NewKeeper(acme.Deps{
		Store: b.store, Now: b.clock, Log: slog.New(slog.DiscardHandler),
		Wanted: func() acme.Wanted {
			b.mu.Lock()
			defer b.mu.Unlock()
			return acme.Wanted{Hosts: slices.Clone(b.hosts)}
		},
		Issuer: issuerFunc(func(ctx context.Context, host string) (certs.Certificate, error) {
			if slices.Contains(stuck, host) {
				hangs <- host
				<-ctx.Done()
				return certs.Certificate{}, ctx.Err()
			}
			return b.client.Issue(ctx, host)
		}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); keeper.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for range stuck {
		<-hangs
	}
	b.mu.Lock()
	b.hosts = append(b.hosts, "new.test")
	b.mu.Unlock()
	keeper.Wake()
	require.Eventually(t, func() bool { _, err := b.store.Load(t.Context(), "new.test"); return err == nil }, time.Minute, 20*time.Millisecond)
}

// However many domains somebody adds at once whose name servers hang, another's new domain has a place.
func TestNobodyTakesAllPlaces(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range 10 {
		many = append(many, fmt.Sprintf("a%d.greedy.test", i))
	}
	b := setup(t, append(slices.Clone(many), "new.test"))
	var begun atomic.Int64
	keeper := acme.NewKeeper(acme.Deps{
		Store: b.store, Now: b.clock, Log: slog.New(slog.DiscardHandler),
		Wanted: func() acme.Wanted { return acme.Wanted{Hosts: append(slices.Clone(many), "new.test")} },
		Owner: func(host string) string {
			_, owner, _ := strings.Cut(host, ".")
			return owner
		},
		Issuer: issuerFunc(func(ctx context.Context, host string) (certs.Certificate, error) {
			if host == "new.test" {
				return b.client.Issue(ctx, host)
			}
			begun.Add(1)
			<-ctx.Done()
			return certs.Certificate{}, ctx.Err()
		}),
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); keeper.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	require.Eventually(t, func() bool { _, err := b.store.Load(t.Context(), "new.test"); return err == nil }, time.Minute, 20*time.Millisecond)
	require.EqualValues(t, 3, begun.Load())
}

func TestACAThatHangsIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	b := setup(t, []string{"shop.test"}, func(o *acme.Options) { o.Patience = time.Second })
	b.ca.Trouble(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	b.look()
	r := b.record("shop.test")
	require.Equal(t, 1, r.Failures)
	require.Equal(t, certs.Silent, r.Cause)
	require.Equal(t, time.Minute, r.RetryAt.Sub(r.LastErrorAt))
}

type issuerFunc func(context.Context, string) (certs.Certificate, error)

// Issue calls it.
func (f issuerFunc) Issue(ctx context.Context, host string) (certs.Certificate, error) {
	return f(ctx, host)
}
