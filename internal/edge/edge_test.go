package edge_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

func TestEdge_EachStateHasItsPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, says("odoo"), nil)
	want := map[tenants.State]struct {
		status  int
		retry   bool
		refresh bool
	}{
		tenants.Pending: {402, false, false}, tenants.Provisioning: {503, true, true}, tenants.Active: {200, false, false},
		tenants.Suspended: {503, true, false}, tenants.Sleeping: {503, true, true}, tenants.Maintenance: {503, true, true},
		tenants.Failed: {503, true, false}, tenants.Scheduled: {503, true, false}, tenants.Deleting: {410, false, false},
	}
	for _, state := range tenants.States() {
		b.tenant("is-"+strings.ReplaceAll(string(state), "_", "-")[:6], state, up)
	}
	b.start()
	for state, w := range want {
		url := "http://is-" + strings.ReplaceAll(string(state), "_", "-")[:6] + ".example.test/web"
		page := b.get(url, "Accept", "text/html,*/*")
		require.Equal(t, w.status, page.status, state)
		require.Equal(t, w.retry, page.header.Get("Retry-After") != "", state)
		require.Empty(t, page.header.Get("Server"), state)
		require.Empty(t, page.header.Get("Via"), state)
		if state == tenants.Active {
			require.Equal(t, "odoo", page.body)
			continue
		}
		require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
		require.Equal(t, "no-store", page.header.Get("Cache-Control"))
		require.Contains(t, page.body, `<html lang="en">`)
		require.Contains(t, page.body, "<h1>")
		require.Equal(t, w.refresh, strings.Contains(page.body, `http-equiv="refresh"`), state)

		document := b.get(url, "Accept", "application/json")
		require.Equal(t, "application/problem+json", document.header.Get("Content-Type"))
		var problem struct {
			Status int
			Detail string
		}
		require.NoError(t, json.Unmarshal([]byte(document.body), &problem))
		require.Equal(t, w.status, problem.Status)
		require.NotEmpty(t, problem.Detail)

		head := b.do(b.request(http.MethodHead, url, nil))
		require.Equal(t, w.status, head.status)
		require.Empty(t, head.body)
	}
	require.EqualValues(t, 1, up.requests.Load(), "only the active one was reached")
}

func TestEdge_UnknownHosts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, says("odoo"), nil)
	b.tenant("acme", tenants.Active, up)
	b.tenant("gone", tenants.Deleted, up)
	b.start()

	for host, want := range map[string]int{
		"acme.example.test": 200, "ACME.Example.Test": 200, "acme.example.test.": 200, "acme.example.test:8080": 200,
		"gone.example.test": 404, "nobody.example.test": 404, "www.acme.example.test": 404, "example.test": 404, "api.example.test": 404,
		"acme.example.com": 421, "acme.example.test.evil.com": 421, "evilexample.test": 421, "127.0.0.1": 421, "[::1]:80": 421, "": 400,
		"acme.example.test:": 200, "acme.example.test:evil.com": 421, "acme.example.test:80@evil.com": 400,
	} {
		answer := b.raw("GET / HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n")
		require.Contains(t, answer, fmt.Sprintf("HTTP/1.1 %d ", want), host)
		require.NotContains(t, answer, "Caddy", host)
	}
	require.Contains(t, b.raw("GET / HTTP/1.1\r\nHost: a\r\nHost: acme.example.test\r\nConnection: close\r\n\r\n"), "HTTP/1.1 400 ")
	require.Contains(t, b.raw("CONNECT acme.example.test:443 HTTP/1.1\r\nHost: acme.example.test:443\r\nConnection: close\r\n\r\n"), "HTTP/1.1 400 ")
	require.Contains(t, b.raw("GET http://acme.example.test/ HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"), "HTTP/1.1 200 ")
}

func TestEdge_OnlyTheProbePassesWhileProvisioning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, says("ok"), nil)
	id := b.tenant("fresh", tenants.Provisioning, nil)
	b.start()
	require.Equal(t, 503, b.status("http://fresh.example.test/web/health"), "no address yet")
	b.endpoint(id, up)
	eventually(t, "the probe passes", func() bool { return b.status("http://fresh.example.test/web/health") == 200 })
	for _, path := range []string{"/", "/web/login", "/web/health/", "/web//health", "/web/%68ealth", "/WEB/health"} {
		require.Equal(t, 503, b.status("http://fresh.example.test"+path), path)
	}
	res := b.do(b.request(http.MethodPost, "http://fresh.example.test/web/health", strings.NewReader("x")))
	require.Equal(t, 503, res.status)
}

// echo answers with the headers that it got, one "Name: value" per line.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "Werkzeug")
	_, _ = fmt.Fprintf(w, "Host: %s\n", r.Host)
	_ = r.Header.Write(w)
}

var forgedHeaders = []string{ //nolint:gochecknoglobals // a constant table
	"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "7.7.7.7", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.test",
	"X-Forwarded-Port", "1", "X-Forwarded-Prefix", "/evil", "Forwarded", "for=6.6.6.6", "X-Real-IP", "6.6.6.6", "True-Client-IP", "6.6.6.6",
	"X-Odoo-Database", "other", "X_Forwarded_For", "6.6.6.6", "X-Forwarded_For", "6.6.6.6", "X_Odoo_Database", "other", "X.Forwarded.For", "6.6.6.6",
	"Proxy", "evil", "X-Original-URL", "/web/database/manager", "X-Rewrite-URL", "/web/database/manager",
}

func TestEdge_PassesTheClientAddressOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tenant("acme", tenants.Active, newUpstream(t, http.HandlerFunc(echo), nil))
	b.start()

	res := b.get("http://acme.example.test:8080/", append([]string{"Cookie", "session_id=1", "X-Custom", "kept"}, forgedHeaders...)...)
	require.Equal(t, 200, res.status)
	require.Empty(t, res.header.Get("Server"))
	for _, line := range []string{
		"Host: acme.example.test:8080", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: acme.example.test:8080",
		"Cookie: session_id=1", "X-Custom: kept",
	} {
		require.Equal(t, 1, strings.Count(strings.ReplaceAll("\n"+res.body, "\r", ""), "\n"+line+"\n"), "%s in\n%s", line, res.body)
	}
	for _, evil := range []string{"6.6.6.6", "7.7.7.7", "evil", "https", "other", "database", "X-Forwarded-Port"} {
		require.NotContains(t, res.body, evil)
	}
	require.Equal(t, 3, strings.Count(res.body, "X-Forwarded-"))
}

// behindProxy trusts what the test says about the client's address.
func behindProxy(o *edge.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

func TestEdge_TrustedProxy(t *testing.T) {
	t.Parallel()
	b := setup(t, behindProxy)
	b.tenant("acme", tenants.Active, newUpstream(t, http.HandlerFunc(echo), nil))
	b.start()

	body := b.get("http://acme.example.test/", "X-Forwarded-For", "6.6.6.6, 192.0.2.9, 127.0.0.3", "X-Forwarded-Proto", "https",
		"X-Forwarded-Host", "evil.test", "X-Real-IP", "6.6.6.6").body
	require.Contains(t, body, "X-Forwarded-For: 192.0.2.9\r\n", "the last one that no trusted proxy is, not the first, which anybody may write")
	require.Contains(t, body, "X-Forwarded-Proto: https\r\n")
	require.Contains(t, body, "X-Forwarded-Host: acme.example.test\r\n")
	require.NotContains(t, body, "6.6.6.6")
	require.NotContains(t, body, "evil")
}

func TestEdge_WebSocket(t *testing.T) {
	t.Parallel()
	b := setup(t)
	events := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			_, _ = io.WriteString(w, "events "+r.URL.Path)
			return
		}
		conn, stream, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = stream.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = stream.Flush()
		_, _ = io.Copy(conn, stream)
	})
	id := b.tenant("acme", tenants.Active, newUpstream(t, says("pages"), events))
	b.start()

	for path, want := range map[string]string{
		"/": "pages", "/websocket": "events /websocket", "/websocket/peek_notifications": "events /websocket/peek_notifications", "/websockets": "pages",
	} {
		body := b.get("http://acme.example.test" + path).body
		require.Equal(t, want, body, path)
	}

	conn, err := net.Dial("tcp", b.opts.Listen)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, _ = io.WriteString(conn, "GET /websocket?version=19 HTTP/1.1\r\nHost: acme.example.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	talk := func(text string) {
		_, err := io.WriteString(conn, text)
		require.NoError(t, err)
		got := make([]byte, len(text))
		_, err = io.ReadFull(in, got)
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	talk("hello")
	// Changes of other routes, and of this one, leave an open WebSocket alone.
	other := b.tenant("other", tenants.Active, nil)
	b.setState(other, tenants.Suspended)
	b.setState(id, tenants.Maintenance)
	eventually(t, "the change is seen", func() bool { return b.status("http://acme.example.test/") == 503 })
	talk("still there")
}

func TestEdge_API(t *testing.T) {
	t.Parallel()
	api := newUpstream(t, http.HandlerFunc(echo), nil)
	b := setup(t, func(o *edge.Options) { o.APIUpstream = fmt.Sprintf("127.0.0.1:%d", api.httpPort) })
	b.start()
	res := b.get("http://api.example.test/api/health", forgedHeaders...)
	require.Equal(t, 200, res.status)
	require.Contains(t, res.body, "X-Forwarded-For: 127.0.0.1\r\n")
	require.NotContains(t, res.body, "6.6.6.6")
}
