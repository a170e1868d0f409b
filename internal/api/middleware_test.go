package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

func TestCORS(t *testing.T) {
	t.Parallel()
	b := setup(t)
	call := func(method, origin string, preflight bool) answer {
		h := http.Header{"Origin": {origin}}
		if preflight {
			h.Set("Access-Control-Request-Method", "POST")
			h.Set("Access-Control-Request-Headers", "authorization,content-type")
		}
		return b.do(request{method: method, path: "/api/health", header: h})
	}
	for _, origin := range []string{"https://app.example.com", "http://localhost:5173"} {
		a := call(http.MethodOptions, origin, true)
		require.Equal(t, http.StatusNoContent, a.Status)
		require.Equal(t, origin, a.Header.Get("Access-Control-Allow-Origin"))
		require.Equal(t, "true", a.Header.Get("Access-Control-Allow-Credentials"))
		require.Contains(t, a.Header.Get("Access-Control-Allow-Headers"), "Authorization")
		a = call(http.MethodGet, origin, false)
		require.Equal(t, origin, a.Header.Get("Access-Control-Allow-Origin"))
		require.Contains(t, a.Header.Get("Access-Control-Expose-Headers"), "X-Total-Count")
		require.Equal(t, "Origin", a.Header.Get("Vary"))
	}
	for _, origin := range []string{"https://evil.example.com", "null", "https://app.example.com.evil.com", "http://app.example.com", ""} {
		for _, preflight := range []bool{true, false} {
			a := call(http.MethodOptions, origin, preflight)
			require.Empty(t, a.Header.Get("Access-Control-Allow-Origin"), origin)
		}
	}
}

func TestUnsafeSettingsAreRefused(t *testing.T) {
	t.Parallel()
	_, err := api.New(api.Deps{}, api.Options{})
	require.Error(t, err)
}

func TestSecurityHeadersAndRequestIDs(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) {
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	for _, path := range []string{"/api/health", "/nothing", "/api/clients"} {
		a := b.get(path, "")
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
		require.NotEmpty(t, a.Header.Get("Content-Security-Policy"))
		require.Regexp(t, "^[0-9a-f]{16}$", a.Header.Get("X-Request-ID"))
	}
	a := b.get("/nothing", "")
	require.Equal(t, a.Header.Get("X-Request-ID"), a.object()["request_id"])
	for id, from := range map[string]string{"kept-1234": "10.0.0.1:80", "from-anybody": "192.0.2.1:80", "bad id\n": "10.0.0.1:80", "short": "10.0.0.1:80"} {
		a := b.do(request{method: http.MethodGet, path: "/api/health", from: from, header: http.Header{"X-Request-Id": {id}}})
		if id == "kept-1234" {
			require.Equal(t, id, a.Header.Get("X-Request-ID"))
		} else {
			require.NotEqual(t, id, a.Header.Get("X-Request-ID"))
		}
	}
}

func TestClientAddressBehindProxies(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, tc := range map[string]struct {
		from, forwarded, want string
		proxies               []netip.Prefix
	}{
		"no proxy":               {"192.0.2.7:1", "", "192.0.2.7", trusted},
		"a caller's own header":  {"192.0.2.7:1", "1.2.3.4", "192.0.2.7", trusted},
		"nobody is trusted":      {"10.0.0.1:1", "1.2.3.4", "10.0.0.1", nil},
		"one proxy":              {"10.0.0.1:1", "203.0.113.9", "203.0.113.9", trusted},
		"two proxies":            {"10.0.0.1:1", "203.0.113.9, 10.0.0.2", "203.0.113.9", trusted},
		"a lie before the truth": {"10.0.0.1:1", "1.1.1.1, 203.0.113.9", "203.0.113.9", trusted},
		"nonsense":               {"10.0.0.1:1", "203.0.113.9, nonsense", "10.0.0.1", trusted},
		"all trusted":            {"10.0.0.1:1", "10.0.0.3, 10.0.0.2", "10.0.0.3", trusted},
		"mapped address":         {"[::ffff:10.0.0.1]:1", "::ffff:203.0.113.9", "203.0.113.9", trusted},
		"IPv6":                   {"[fd00::1]:1", "2001:db8::5", "2001:db8::5", trusted},
		"unreadable peer":        {"@", "203.0.113.9", "invalid IP", trusted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			r.RemoteAddr = tc.from
			r.Header.Set("X-Forwarded-For", tc.forwarded)
			require.Equal(t, tc.want, api.ClientIP(tc.proxies, r).String())
		})
	}
}

func TestLoginIsLimitedPerAddressAndPerAccount(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Rates = api.Rates{} })
	_, err := b.accounts.CreateAdmin(t.Context(), adminInput("ada"))
	require.NoError(t, err)
	login := func(from, name string) answer {
		return b.do(request{
			method: http.MethodPost, path: "/api/auth/login", from: from, contentType: "application/json",
			body: `{"username":"` + name + `","password":"Wrong-Horse1!"}`,
		})
	}
	for range 5 {
		require.Equal(t, http.StatusUnauthorized, login("192.0.2.1:5", "ada").Status)
	}
	a := login("192.0.2.1:6", "somebody-else")
	require.Equal(t, http.StatusTooManyRequests, a.Status, "the address is used up")
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	require.NotEmpty(t, a.detail())
	a = login("198.51.100.1:5", "ADA@example.com")
	require.Equal(t, http.StatusTooManyRequests, a.Status, "the account is used up, whatever its name and address")
	require.Equal(t, http.StatusUnauthorized, login("198.51.100.1:5", "nobody").Status)
}

func TestOtherLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) {
		o.Rates = api.Rates{Register: 1, Refresh: 1, Initialize: 1, Confirm: 1, Profile: 1, Reset: 1, Progress: 1}
	})
	token := b.user("ada")
	b.client(token, "acme")
	for _, r := range []request{
		{method: "POST", path: "/api/auth/register", body: `{"email":"bob@example.com","username":"bob","password":"` + password + `"}`},
		{method: "POST", path: "/api/auth/refresh", body: `{"refresh_token":"x"}`},
		{method: "PATCH", path: "/api/auth/me", body: `{"full_name":"Ada"}`, token: token},
		{method: "POST", path: "/api/payments/initialize", body: `{"plan":"basic"}`, token: token},
		{method: "GET", path: "/api/payments/verify/ODOO-000000000000", token: token},
		{method: "GET", path: "/api/payments/progress/ODOO-000000000000"},
		{method: "POST", path: "/api/clients/acme/reset-admin-password", token: token},
	} {
		r.contentType = "application/json"
		b.do(r)
		a := b.do(r)
		require.Equal(t, http.StatusTooManyRequests, a.Status, r.path)
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
}

func TestReadiness(t *testing.T) {
	t.Parallel()
	var broken error
	b := setup(t, func(d *api.Deps, _ *api.Options) {
		d.Checks = append(d.Checks, api.Check{Name: "engine", Probe: func(context.Context) error { return broken }})
	})
	a := b.get("/api/ready", "")
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, map[string]any{"database": "ok", "engine": "ok"}, a.object()["checks"])
	broken = errors.New("dial unix /run/secret.sock: refused")
	a = b.get("/api/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.Equal(t, "Not ready: engine.", a.detail())
	require.NotContains(t, string(a.Body), "secret.sock")
	require.Contains(t, b.log.String(), "secret.sock", "the reason is in the log")
	require.Equal(t, map[string]any{"status": "healthy", "version": "1.0.0"}, b.get("/api/health", "").object())
	require.Equal(t, map[string]any{"message": "Odoo Cloud Platform API", "version": "1.0.0"}, b.get("/", "").object())
}

// broken fails in the ways that no service means to.
type broken struct {
	with func(ctx context.Context) error
}

func (p broken) ResetAdminPassword(ctx context.Context, _ tenants.Tenant) error {
	return p.with(ctx)
}

func TestWhatGoesWrongInside(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		with         func(ctx context.Context) error
		status       int
		code, detail string
	}{
		"unknown error": {func(context.Context) error { return errors.New("password=hunter2") }, 500, "internal", "Something went wrong"},
		"internal kind": {func(context.Context) error { return errs.New(errs.Internal, "x", "hunter2") }, 500, "internal", "Something went wrong"},
		"panic":         {func(context.Context) error { panic("hunter2") }, 500, "internal", "Something went wrong"},
		"too slow":      {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 503, "timeout", "too long"},
		"known error":   {func(context.Context) error { return errs.New(errs.Unavailable, "engine_down", "The engine is down.") }, 503, "engine_down", "The engine is down."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, func(d *api.Deps, o *api.Options) {
				d.Passwords = broken{tc.with}
				if name == "too slow" {
					o.RequestTimeout = 5 * time.Second // long enough to sign up on a busy machine
				}
			})
			token := b.user("ada")
			b.client(token, "acme")
			_, err := b.pool.Exec(t.Context(), "UPDATE tenants SET state = 'active', paid_at = now()")
			require.NoError(t, err)
			a := b.raw(request{method: http.MethodPost, path: "/api/clients/acme/reset-admin-password", token: token})
			require.Equal(t, tc.status, a.Status, "%s", a.Body)
			require.Equal(t, tc.code, a.object()["code"])
			require.Contains(t, a.detail(), tc.detail)
			require.NotContains(t, string(a.Body), "hunter2")
			require.NotEmpty(t, a.object()["request_id"])
			require.Equal(t, 1, strings.Count(b.log.String(), `"msg":"request refused"`), "logged once: %s", b.log)
		})
	}
}

func TestDatabaseDown(t *testing.T) {
	t.Parallel()
	b, token := setupWithoutDatabase(t), setup(t).user("ada")
	for _, path := range []string{"/api/clients", "/api/plans", "/api/auth/me", "/api/ready"} {
		a := b.get(path, token)
		require.Equal(t, http.StatusServiceUnavailable, a.Status, "%s: %s", path, a.Body)
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	require.Equal(t, http.StatusOK, b.get("/api/health", "").Status)
}

func TestAccessLogHoldsNoSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	b.get("/api/clients?token=in-the-query", token)
	b.post("/api/auth/register", "", `{"email":"in-the-body"}`)
	log := b.log.String()
	for _, secret := range []string{token, "in-the-query", "in-the-body", password} {
		require.NotContains(t, log, secret)
	}
	require.Contains(t, log, `"path":"/api/clients","status":200`)
}
