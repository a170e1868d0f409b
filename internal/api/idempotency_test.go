package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

const createAcme = `{"name":"acme","email":"owner@example.com"}`

// keyed posts with an Idempotency-Key.
func (b *bundle) keyed(path, token, key, body string) answer {
	b.t.Helper()
	return b.do(request{
		method: http.MethodPost, path: path, token: token, contentType: "application/json", body: body,
		header: http.Header{"Idempotency-Key": {key}},
	})
}

func TestIdempotencyKey_ReplaysTheFirstAnswer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	first := b.keyed("/api/clients", token, "k1", createAcme)
	require.Equal(t, http.StatusCreated, first.Status, "%s", first.Body)
	require.Empty(t, first.Header.Get("Idempotent-Replayed"))
	again := b.keyed("/api/clients", token, "k1", createAcme)
	require.Equal(t, http.StatusCreated, again.Status)
	require.Equal(t, string(first.Body), string(again.Body))
	require.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
	require.Equal(t, first.Header.Get("Content-Type"), again.Header.Get("Content-Type"))
	require.Equal(t, "true", again.Header.Get("Idempotent-Replayed"))
	require.Equal(t, 1, b.count("tenants"))
	require.Equal(t, http.StatusConflict, b.keyed("/api/clients", token, "k2", createAcme).Status, "another key is another request")
}

func TestIdempotencyKey_ReplaysRefusalsToo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	const bad = `{"name":"-","email":"owner@example.com"}`
	first := b.keyed("/api/clients", token, "k1", bad)
	require.Equal(t, http.StatusUnprocessableEntity, first.Status)
	again := b.keyed("/api/clients", token, "k1", bad)
	require.Equal(t, string(first.Body), string(again.Body))
	require.Equal(t, "application/problem+json", again.Header.Get("Content-Type"))
}

func TestIdempotencyKey_AnotherRequestIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	require.Equal(t, http.StatusCreated, b.keyed("/api/clients", token, "k1", createAcme).Status)
	a := b.keyed("/api/clients", token, "k1", `{"name":"bcme","email":"owner@example.com"}`)
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	require.Contains(t, a.detail(), "Idempotency-Key")
	require.Equal(t, 1, b.count("tenants"))
}

func TestIdempotencyKey_BelongsToTheAccount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, http.StatusCreated, b.keyed("/api/clients", b.user("ada"), "k1", createAcme).Status)
	eve := b.keyed("/api/clients", b.user("eve"), "k1", createAcme)
	require.Equal(t, http.StatusConflict, eve.Status, "the name is taken; nobody is shown another's answer")
	require.Equal(t, 1, b.count("idempotency_keys WHERE status = 409"))
}

// What was refused for the moment may be tried again with the same key.
func TestIdempotencyKey_PassingTroubleIsntKept(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Rates.Initialize = 1 })
	token := b.user("ada")
	b.client(token, "acme")
	b.gateway.failWith = http.ErrServerClosed
	const body = `{"client_name":"acme","plan":"basic"}`
	a := b.keyed("/api/payments/initialize", token, "k1", body)
	require.GreaterOrEqual(t, a.Status, 500, "%s", a.Body)
	b.gateway.failWith = nil
	require.Equal(t, http.StatusTooManyRequests, b.keyed("/api/payments/initialize", token, "k1", body).Status)
	b.forgetLimits()
	require.Equal(t, http.StatusOK, b.keyed("/api/payments/initialize", token, "k1", body).Status)
	require.Equal(t, 1, b.count("idempotency_keys"))
}

func TestIdempotencyKey_DuplicatesAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	_, err := b.pool.Exec(t.Context(), `
		INSERT INTO idempotency_keys (account_id, route, key, fingerprint, claim, lease_until, expires_at)
		SELECT id, 'POST /api/clients', 'k1', '\x00', 1, now() + interval '1 minute', now() + interval '1 day' FROM accounts`)
	require.NoError(t, err)
	a := b.keyed("/api/clients", token, "k1", createAcme)
	require.Equal(t, http.StatusUnprocessableEntity, a.Status, "another body, also while the first is being worked on")

	const callers = 6
	statuses := make(chan int, callers)
	for range callers {
		go func() { statuses <- b.keyed("/api/clients", token, "k2", createAcme).Status }()
	}
	for range callers {
		require.Contains(t, []int{http.StatusCreated, http.StatusConflict}, <-statuses)
	}
	require.Equal(t, 1, b.count("tenants"))
	require.Equal(t, http.StatusCreated, b.keyed("/api/clients", token, "k2", createAcme).Status)
}

// Every POST of a known caller looks at the key, unless its answer is a credential; bad keys show which do.
func TestIdempotencyKey_OnEveryRouteThatMayHaveOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := b.admin()
	ignores := map[string]bool{
		"/api/auth/register": true, "/api/auth/login": true, "/api/auth/refresh": true, "/api/auth/logout": true, "/api/auth/password": true,
		"/api/events/ticket": true, "/api/clients/{name}/reset-admin-password": true,
		"/api/payments/webhook": true, "/api/cleanup/expired-clients": true, // nobody's account
		"/api/clients/{name}/import": true, // its body is as long as a database, and isn't kept to be compared
	}
	err := chi.Walk(b.routes(), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if method != http.MethodPost || ignores[route] {
			return nil
		}
		path := strings.NewReplacer("{name}", "acme", "{id}", "1", "{reference}", "x", "{domain}", "x").Replace(route)
		a := b.keyed(path, admin, "not a key", "{}")
		require.Equal(t, http.StatusBadRequest, a.Status, route)
		require.Contains(t, a.detail(), "Idempotency-Key", route)
		return nil
	})
	require.NoError(t, err)
	for _, key := range []string{"", strings.Repeat("k", 256), "ключ"} {
		require.Equal(t, http.StatusBadRequest, b.keyed("/api/clients", admin, key, createAcme).Status)
	}
	require.Equal(t, http.StatusOK, b.keyed("/api/auth/logout", admin, "not a key", "").Status, "not looked at")
	require.Zero(t, b.count("idempotency_keys"))
}
