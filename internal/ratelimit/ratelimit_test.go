package ratelimit_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/ratelimit"
)

type bundle struct {
	pool    *pgxpool.Pool
	limiter *ratelimit.Limiter
}

func setup(t *testing.T) bundle {
	t.Helper()
	pool := pgtest.New(t)
	return bundle{pool: pool, limiter: ratelimit.New(pool)}
}

// pass lets the time go by for all keys.
func (b bundle) pass(t *testing.T, d time.Duration) {
	t.Helper()
	_, err := b.pool.Exec(t.Context(), "UPDATE rate_limits SET free_at = free_at - $1::interval", d)
	require.NoError(t, err)
}

func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	require.ErrorIs(t, err, ratelimit.ErrLimited)
	require.Equal(t, errs.RateLimited, errs.KindOf(err))
	var e *errs.Error
	require.ErrorAs(t, err, &e)
	return e.RetryAfter
}

func TestAllow_RefusesTheOneTooMany(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		require.NoError(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	}
	wait := retryAfter(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	require.Greater(t, wait, 10*time.Second)
	require.LessOrEqual(t, wait, 12*time.Second, "one call comes back every 12 s")
	require.NoError(t, b.limiter.Allow(t.Context(), "b", 5, time.Minute), "each key has its own limit")
}

func TestAllow_WaitingAsToldIsEnough(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 5 {
		require.NoError(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	}
	wait := retryAfter(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	for range 20 {
		require.Error(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute), "refused calls don't count, but don't help either")
	}
	b.pass(t, wait-2*time.Second)
	require.Error(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	b.pass(t, 2*time.Second)
	require.NoError(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	require.Error(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
	b.pass(t, time.Minute)
	for range 5 {
		require.NoError(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute), "a whole period gives the whole limit back")
	}
	require.Error(t, b.limiter.Allow(t.Context(), "a", 5, time.Minute))
}

func TestAllow_CountsExactlyOverReplicas(t *testing.T) {
	t.Parallel()
	url := pgtest.NewURL(t)
	var limiters [2]*ratelimit.Limiter
	for i := range limiters {
		pool, err := postgres.Open(t.Context(), url, postgres.Options{MaxConns: 5})
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		limiters[i] = ratelimit.New(pool)
	}
	var allowed, refused atomic.Int32
	var g errgroup.Group
	for i := range 50 {
		g.Go(func() error {
			err := limiters[i%2].Allow(t.Context(), "shared", 7, time.Hour)
			switch {
			case err == nil:
				allowed.Add(1)
			case errors.Is(err, ratelimit.ErrLimited):
				refused.Add(1)
			default:
				return err
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	require.Equal(t, int32(7), allowed.Load())
	require.Equal(t, int32(43), refused.Load())
}

func TestAllow_OddKeysAreKeysToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"", "nul\x00", "\xff\xfe", strings.Repeat("x", 100_000), "login/ünï"} {
		require.NoError(t, b.limiter.Allow(t.Context(), key, 1, time.Minute))
		require.ErrorIs(t, b.limiter.Allow(t.Context(), key, 1, time.Minute), ratelimit.ErrLimited)
	}
}

func TestAllow_ALimitThatCannotBeCheckedLetsNothingThrough(t *testing.T) {
	t.Parallel()
	down, err := postgres.Open(t.Context(), "postgres://u:p@127.0.0.1:1/x?sslmode=disable", postgres.Options{ConnectTimeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(down.Close)
	err = ratelimit.New(down).Allow(t.Context(), "a", 1, time.Minute)
	require.ErrorIs(t, err, ratelimit.ErrUnavailable)
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
}

func TestAllow_NoRate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Error(t, b.limiter.Allow(t.Context(), "a", 0, time.Minute))
	require.Error(t, b.limiter.Allow(t.Context(), "a", 5, 0))
}

func TestDeleteStale(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.limiter.Allow(t.Context(), "old", 1, time.Minute))
	b.pass(t, time.Hour)
	require.NoError(t, b.limiter.Allow(t.Context(), "new", 1, time.Minute))
	n, err := b.limiter.DeleteStale(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Error(t, b.limiter.Allow(context.WithoutCancel(t.Context()), "new", 1, time.Minute), "a key in use is kept")
}

func TestAddress(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"203.0.113.7":          "203.0.113.7",
		"::ffff:203.0.113.7":   "203.0.113.7",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"fe80::1%eth0":         "fe80::/64",
	} {
		require.Equal(t, want, ratelimit.Address(netip.MustParseAddr(in)))
	}
	require.NotPanics(t, func() { ratelimit.Address(netip.Addr{}) })
}
