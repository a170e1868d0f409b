package certs_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/certs"
)

func TestACertificateComesBackAsItWas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.store.Load(t.Context(), "shop.test")
	require.ErrorIs(t, err, certs.ErrNotFound)
	want := b.certificate("shop.test")
	require.NoError(t, b.store.Save(t.Context(), want, b.now))
	got, err := b.store.Load(t.Context(), "shop.test")
	require.NoError(t, err)
	require.Equal(t, want.Chain, got.Chain)
	require.Equal(t, want.Key.Reveal(), got.Key.Reveal())
	require.Positive(t, got.Version)
	pair, err := got.TLS()
	require.NoError(t, err)
	require.Equal(t, []string{"shop.test"}, pair.Leaf.DNSNames)
}

func TestKeysAreSealedAndBoundToTheirRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.save("a.test")
	b.save("b.test")
	require.NoError(t, b.store.WriteFile(t.Context(), "acme/ca/users/x/x.key", []byte("PRIVATE KEY of the account")))
	var dump string
	require.NoError(t, b.pool.QueryRow(t.Context(), `SELECT string_agg(t::text, '') || (SELECT string_agg(encode(value, 'escape'), '') FROM acme_files)
		|| (SELECT string_agg(encode(private_key, 'escape'), '') FROM certificates) FROM certificates t`).Scan(&dump))
	require.NotContains(t, dump, "PRIVATE KEY")

	_, err := b.pool.Exec(t.Context(), `UPDATE certificates SET private_key = (SELECT private_key FROM certificates WHERE host = 'a.test') WHERE host = 'b.test'`)
	require.NoError(t, err)
	_, err = b.store.Load(t.Context(), "b.test")
	require.Error(t, err, "another row's key is no key")
}

func TestFailuresAreCountedAndForgottenWithSuccess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	retry := b.now.Add(time.Minute)
	require.NoError(t, b.store.Fail(t.Context(), "shop.test", certs.Failure{Cause: certs.Forbidden, Reason: "no\x00route \xff", RetryAt: retry}, b.now))
	require.NoError(t, b.store.Fail(t.Context(), "shop.test", certs.Failure{Cause: certs.Silent, Reason: strings.Repeat("ü", 5000), RetryAt: retry}, b.now))
	r, err := b.store.Record(t.Context(), "shop.test")
	require.NoError(t, err)
	require.Equal(t, 2, r.Failures)
	require.Equal(t, certs.Silent, r.Cause)
	require.Less(t, len([]rune(r.LastError)), 2000)
	require.False(t, r.Due(b.now))
	require.True(t, r.Due(retry))
	_, err = b.store.Load(t.Context(), "shop.test")
	require.ErrorIs(t, err, certs.ErrNotFound, "a failure is no certificate")

	stored := b.save("shop.test")
	r, err = b.store.Record(t.Context(), "shop.test")
	require.NoError(t, err)
	require.Zero(t, r.Failures)
	require.Empty(t, r.LastError)
	require.Empty(t, r.Cause)
	require.False(t, r.Due(b.now))
	require.True(t, r.Due(stored.NotAfter.Add(-30*24*time.Hour)), "a third of its life is left")

	require.NoError(t, b.store.Fail(t.Context(), "shop.test", certs.Failure{Cause: certs.TooMany, Reason: "rate limited", RetryAt: retry}, b.now))
	kept, err := b.store.Load(t.Context(), "shop.test")
	require.NoError(t, err)
	require.Equal(t, stored.Chain, kept.Chain, "a failed renewal leaves the old one in use")
}

func TestSavingTellsTheEdges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	conn, err := pgx.ConnectConfig(t.Context(), b.pool.Config().ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	_, err = conn.Exec(t.Context(), "LISTEN edge_certificates")
	require.NoError(t, err)
	require.NoError(t, b.store.Fail(t.Context(), "shop.test", certs.Failure{Reason: "no", RetryAt: b.now}, b.now))
	b.save("shop.test")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n, err := conn.WaitForNotification(ctx)
	require.NoError(t, err)
	require.Equal(t, "shop.test", n.Payload)
}

// What counts is for how long nobody has wanted it, not when it was renewed last.
func TestForgetGoesByNeed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.save("wanted.test")
	b.save("gone.test")
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	forgotten := func(after time.Duration, wanted ...string) []string {
		t.Helper()
		gone, err := b.store.Forget(t.Context(), wanted, b.now.Add(after), week)
		require.NoError(t, err)
		return gone
	}
	require.Empty(t, forgotten(50*day, "wanted.test", "gone.test"), "in use, however long ago it was issued")
	require.Empty(t, forgotten(51*day, "wanted.test"), "its domain has just been removed")
	require.Empty(t, forgotten(57*day, "wanted.test", "gone.test"), "and is back")
	require.Empty(t, forgotten(58*day, "wanted.test"), "and removed again")
	require.Empty(t, forgotten(64*day, "wanted.test"))
	require.Equal(t, []string{"gone.test"}, forgotten(65*day, "wanted.test"))
	_, err := b.store.Load(t.Context(), "wanted.test")
	require.NoError(t, err)
	require.Empty(t, forgotten(66*day), "nobody is wanted any more")
	b.save("wanted.test")
	require.Empty(t, forgotten(80*day), "one that was issued since counts anew")
}

func TestRekeySealsAllWithTheFirstKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	before := b.save("shop.test")
	require.NoError(t, b.store.Fail(t.Context(), "none.test", certs.Failure{Reason: "no", RetryAt: b.now}, b.now))
	require.NoError(t, b.store.WriteFile(t.Context(), "acme/ca/account.key", []byte("secret")))
	both := certs.NewStore(b.pool, sealer(t, newKey+","+oldKey))
	n, err := both.Rekey(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	onlyNew := certs.NewStore(b.pool, sealer(t, newKey))
	after, err := onlyNew.Load(t.Context(), "shop.test")
	require.NoError(t, err)
	require.Equal(t, before.Key.Reveal(), after.Key.Reveal())
	require.Greater(t, after.Version, before.Version, "edges copy it again")
	value, err := onlyNew.ReadFile(t.Context(), "acme/ca/account.key")
	require.NoError(t, err)
	require.Equal(t, "secret", string(value))
	n, err = both.Rekey(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestFilesBelowAFolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"acme/ca_1/a", "acme/ca_1/b/c", "acme/caX1/d"} {
		require.NoError(t, b.store.WriteFile(t.Context(), key, []byte(key)))
	}
	list, err := b.store.Files(t.Context(), "acme/ca_1")
	require.NoError(t, err)
	require.Len(t, list, 2, "an underscore is no wildcard")
	require.Equal(t, int64(len("acme/ca_1/a")), list[0].Size)
	require.NoError(t, b.store.RemoveFiles(t.Context(), "acme/ca_1"))
	require.NoError(t, b.store.RemoveFiles(t.Context(), "acme/ca_1"))
	list, err = b.store.Files(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, list, 1)
	_, err = b.store.ReadFile(t.Context(), "acme/ca_1/a")
	require.ErrorIs(t, err, certs.ErrNotFound)
}

func TestALeaseHasOneHolder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := certs.NewStore(b.pool, sealer(t, oldKey))
	var inside, most, done atomic.Int32
	var group sync.WaitGroup
	for i := range 12 {
		store := b.store
		if i%2 == 0 {
			store = other
		}
		group.Go(func() {
			taken, err := store.Hold(t.Context(), "issue", func(context.Context) error {
				most.Store(max(most.Load(), inside.Add(1)))
				defer inside.Add(-1)
				done.Add(1)
				return errors.New("from inside")
			})
			if taken {
				require.EqualError(t, err, "from inside") //nolint:testifylint // the test fails either way
			}
		})
	}
	group.Wait()
	require.Equal(t, int32(1), most.Load())
	require.Positive(t, done.Load())
}

func TestALeaseThatRanOutIsTakenOverAndNotGivenBackByItsLoser(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := certs.NewStore(b.pool, sealer(t, oldKey))
	taken, err := b.store.Acquire(t.Context(), "issue")
	require.NoError(t, err)
	require.True(t, taken)
	taken, err = other.Acquire(t.Context(), "issue")
	require.NoError(t, err)
	require.False(t, taken)
	_, err = b.pool.Exec(t.Context(), `UPDATE acme_locks SET expires_at = now() - interval '1 second'`)
	require.NoError(t, err)
	taken, err = other.Acquire(t.Context(), "issue")
	require.NoError(t, err)
	require.True(t, taken)
	held, err := b.store.Extend(t.Context(), "issue")
	require.NoError(t, err)
	require.False(t, held)
	require.NoError(t, b.store.Release(t.Context(), "issue"))
	held, err = other.Extend(t.Context(), "issue")
	require.NoError(t, err)
	require.True(t, held)
}
