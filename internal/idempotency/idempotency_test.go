package idempotency_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/idempotency"
	"controlplane/internal/postgres/pgtest"
)

type bundle struct {
	*idempotency.Store
	t       *testing.T
	pool    *pgxpool.Pool
	account int64
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t)}
	b.Store = idempotency.New(b.pool, idempotency.Options{})
	b.account = b.newAccount("ada")
	return b
}

func (b *bundle) newAccount(name string) (id int64) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `
		INSERT INTO accounts (email, email_key, username, username_key, password_hash) VALUES ($1 || '@example.com', $1, $1, $1, 'x')
		RETURNING id`, name).Scan(&id))
	return id
}

func (b *bundle) request(body string) idempotency.Request {
	return idempotency.Request{AccountID: b.account, Route: "POST /x", Key: "k1", Fingerprint: sha256.Sum256([]byte(body))}
}

func (b *bundle) begin(r idempotency.Request) idempotency.Claim {
	b.t.Helper()
	c, err := b.Begin(b.t.Context(), r)
	require.NoError(b.t, err)
	return c
}

// pass lets an interval pass for all keys.
func (b *bundle) pass(interval string) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `
		UPDATE idempotency_keys SET lease_until = lease_until - $1::text::interval, expires_at = expires_at - $1::text::interval`, interval)
	require.NoError(b.t, err)
}

func created() idempotency.Answer {
	return idempotency.Answer{Status: 201, Header: map[string][]string{"Location": {"/x/1"}}, Body: []byte(`{"id":1}`)}
}

func TestBegin_ReplaysTheFirstAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.begin(b.request("a"))
	require.Nil(t, c.Replay)
	require.NoError(t, b.Finish(t.Context(), c, created()))
	require.Equal(t, created(), *b.begin(b.request("a")).Replay)
	b.pass("23 hours 59 minutes")
	require.Equal(t, created(), *b.begin(b.request("a")).Replay)
	b.pass("2 minutes")
	require.Nil(t, b.begin(b.request("b")).Replay, "after a day the key is free, for any request")
}

func TestBegin_AnotherRequestWithTheKeyIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.begin(b.request("a"))
	_, err := b.Begin(t.Context(), b.request("b"))
	require.ErrorIs(t, err, idempotency.ErrReused, "also while the first is in progress")
	require.NoError(t, b.Finish(t.Context(), c, created()))
	_, err = b.Begin(t.Context(), b.request("b"))
	require.ErrorIs(t, err, idempotency.ErrReused)
}

func TestBegin_KeysBelongToAccountAndRoute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Finish(t.Context(), b.begin(b.request("a")), created()))
	other := b.request("a")
	other.Route = "POST /y"
	require.Nil(t, b.begin(other).Replay)
	other = b.request("a")
	other.AccountID = b.newAccount("eve")
	require.Nil(t, b.begin(other).Replay, "nobody sees what another account was answered")
}

func TestBegin_ARequestThatDiedIsFollowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	died := b.begin(b.request("a"))
	_, err := b.Begin(t.Context(), b.request("a"))
	require.ErrorIs(t, err, idempotency.ErrInProgress)
	b.pass("2 minutes")
	_, err = b.Begin(t.Context(), b.request("b"))
	require.ErrorIs(t, err, idempotency.ErrReused)
	next := b.begin(b.request("a"))
	require.Nil(t, next.Replay)

	require.ErrorIs(t, b.Finish(t.Context(), died, idempotency.Answer{Status: 500}), idempotency.ErrLost, "it wasn't dead, but it is too late")
	require.NoError(t, b.Release(t.Context(), died))
	require.NoError(t, b.Finish(t.Context(), next, created()))
	require.Equal(t, created(), *b.begin(b.request("a")).Replay)
}

func TestRelease_LetsARepeatDoTheWork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.begin(b.request("a"))
	require.NoError(t, b.Release(t.Context(), c))
	next := b.begin(b.request("a"))
	require.Nil(t, next.Replay)
	require.NoError(t, b.Finish(t.Context(), next, created()))
	require.NoError(t, b.Release(t.Context(), next), "an answer stays")
	require.NotNil(t, b.begin(b.request("a")).Replay)
}

func TestBegin_OfManyAtOnceOneWorks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const callers = 8
	type result struct {
		claim idempotency.Claim
		err   error
	}
	results := make(chan result, callers)
	for range callers {
		go func() {
			c, err := b.Begin(t.Context(), b.request("a"))
			results <- result{c, err}
		}()
	}
	working := 0
	for range callers {
		r := <-results
		if r.err == nil {
			working++
			continue
		}
		require.ErrorIs(t, r.err, idempotency.ErrInProgress)
	}
	require.Equal(t, 1, working)
}

func TestDeleteExpired(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.Finish(t.Context(), b.begin(b.request("a")), created()))
	n, err := b.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	b.pass("25 hours")
	n, err = b.DeleteExpired(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "8e03978e-40d5-43e8-bc93-6894a57f9324", `"quoted"`, strings.Repeat("k", 255)} {
		key, err := idempotency.ParseKey(good)
		require.NoError(t, err)
		require.Equal(t, good, key)
	}
	for _, bad := range []string{"", " ", "a b", "ключ", "a\x00", "a\x7f", strings.Repeat("k", 256)} {
		_, err := idempotency.ParseKey(bad)
		require.ErrorIs(t, err, idempotency.ErrBadKey, bad)
	}
}
