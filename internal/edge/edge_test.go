package edge_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
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
		res, body := b.get(url, "Accept", "text/html,*/*")
		require.Equal(t, w.status, res.StatusCode, state)
		require.Equal(t, w.retry, res.Header.Get("Retry-After") != "", state)
		require.Empty(t, res.Header.Get("Server"), state)
		require.Empty(t, res.Header.Get("Via"), state)
		if state == tenants.Active {
			require.Equal(t, "odoo", body)
			continue
		}
		require.Equal(t, "text/html; charset=utf-8", res.Header.Get("Content-Type"))
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		require.Contains(t, body, `<html lang="en">`)
		require.Contains(t, body, "<h1>")
		require.Equal(t, w.refresh, strings.Contains(body, `http-equiv="refresh"`), state)

		res, body = b.get(url, "Accept", "application/json")
		require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
		var problem struct {
			Status int
			Detail string
		}
		require.NoError(t, json.Unmarshal([]byte(body), &problem))
		require.Equal(t, w.status, problem.Status)
		require.NotEmpty(t, problem.Detail)

		res, body = b.do(b.request(http.MethodHead, url, nil))
		require.Equal(t, w.status, res.StatusCode)
		require.Empty(t, body)
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
	res, _ := b.do(b.request(http.MethodPost, "http://fresh.example.test/web/health", strings.NewReader("x")))
	require.Equal(t, 503, res.StatusCode)
}

// echo answers with the headers that it got, one "Name: value" per line.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "Werkzeug")
	_, _ = fmt.Fprintf(w, "Host: %s\n", r.Host)
	_ = r.Header.Write(w)
}

var forgedHeaders = []string{
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

	res, body := b.get("http://acme.example.test:8080/", append([]string{"Cookie", "session_id=1", "X-Custom", "kept"}, forgedHeaders...)...)
	require.Equal(t, 200, res.StatusCode)
	require.Empty(t, res.Header.Get("Server"))
	for _, line := range []string{
		"Host: acme.example.test:8080", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: acme.example.test:8080",
		"Cookie: session_id=1", "X-Custom: kept",
	} {
		require.Equal(t, 1, strings.Count(strings.ReplaceAll("\n"+body, "\r", ""), "\n"+line+"\n"), "%s in\n%s", line, body)
	}
	for _, evil := range []string{"6.6.6.6", "7.7.7.7", "evil", "https", "other", "database", "X-Forwarded-Port"} {
		require.NotContains(t, body, evil)
	}
	require.Equal(t, 3, strings.Count(body, "X-Forwarded-"))
}

func TestEdge_TrustedProxy(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	b.tenant("acme", tenants.Active, newUpstream(t, http.HandlerFunc(echo), nil))
	b.start()

	_, body := b.get("http://acme.example.test/", "X-Forwarded-For", "6.6.6.6, 192.0.2.9, 127.0.0.3", "X-Forwarded-Proto", "https",
		"X-Forwarded-Host", "evil.test", "X-Real-IP", "6.6.6.6")
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
		_, body := b.get("http://acme.example.test" + path)
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

func TestEdge_RouteChangesAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, says("odoo"), nil)
	b.start()
	eventually(t, "the edge listens", func() bool { return b.edge.Status().Connected })
	var slowest time.Duration
	seen := func(host string, want int, change func()) {
		change()
		began := time.Now()
		eventually(t, "the change is seen", func() bool { return b.status("http://"+host+".example.test/") == want })
		slowest = max(slowest, time.Since(began))
	}
	var id tenants.ID
	for i := range 10 {
		name := fmt.Sprintf("client-%d", i)
		seen(name, 402, func() { id = b.tenant(name, tenants.Pending, nil) })
		seen(name, 200, func() { b.endpoint(id, up); b.setState(id, tenants.Active) })
		seen(name, 503, func() { b.setState(id, tenants.Suspended) })
		seen(name, 404, func() { b.setState(id, tenants.Deleted) })
	}
	t.Logf("slowest of 40 changes was seen after %s", slowest)
	require.Less(t, slowest, 500*time.Millisecond) // 100 ms is the aim; a loaded machine may be late

	// A deleted tenant's name is used again: its last notifications must not take the new one's route away.
	again := b.tenant("client-9", tenants.Active, up)
	eventually(t, "the new one is there", func() bool { return b.status("http://client-9.example.test/") == 200 })
	_, err := b.pool.Exec(t.Context(), "SELECT pg_notify('edge_routes', $1)", id.String())
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), "SELECT pg_notify('edge_routes', 'nonsense')")
	require.NoError(t, err)
	seen("client-9", 503, func() { b.setState(again, tenants.Suspended) })
}

func TestEdge_ServesWhilePostgreSQLIsDown(t *testing.T) {
	t.Parallel()
	cable, via := viaRelay(t)
	b := setup(t, via)
	up := newUpstream(t, says("odoo"), nil)
	id := b.tenant("acme", tenants.Active, up)
	b.start()
	require.Equal(t, 200, b.status("http://acme.example.test/"))

	cable.cut()
	eventually(t, "the loss is noticed", func() bool { return !b.edge.Status().Connected })
	require.Equal(t, 200, b.status("http://acme.example.test/"))
	b.stop()
	info, err := os.Stat(b.opts.StateFile)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	// A new edge, with PostgreSQL still down, serves from the disk.
	b.start()
	require.Equal(t, 200, b.status("http://acme.example.test/"))
	require.False(t, b.edge.Status().Connected)
	require.Equal(t, 404, b.status("http://nobody.example.test/"))

	b.setState(id, tenants.Suspended) // unseen
	b.tenant("newcomer", tenants.Active, up)
	require.Equal(t, 200, b.status("http://acme.example.test/"))
	cable.restore()
	eventually(t, "what was missed is caught up with", func() bool {
		return b.status("http://acme.example.test/") == 503 && b.status("http://newcomer.example.test/") == 200
	})
	require.NotContains(t, b.log.String(), "postgres:postgres")
}

func TestEdge_WithoutAnyTableSaysSo(t *testing.T) {
	t.Parallel()
	cable, via := viaRelay(t)
	b := setup(t, via)
	b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	cable.cut()
	require.NoError(t, os.MkdirAll(strings.TrimSuffix(b.opts.StateFile, "/routes.json"), 0o700))
	require.NoError(t, os.WriteFile(b.opts.StateFile, []byte(`{"version":1,"routes":[{"Host":`), 0o600))
	go func() {
		eventually(t, "an honest answer before there is a table", func() bool {
			return strings.Contains(b.rawMaybe("GET / HTTP/1.1\r\nHost: acme.example.test\r\nConnection: close\r\n\r\n"), "HTTP/1.1 503 ")
		})
		cable.restore()
	}()
	b.start()
	eventually(t, "the table arrives", func() bool { return b.status("http://acme.example.test/") == 200 })
	require.Contains(t, b.log.String(), "can't use its copy")
}

// rawMaybe is raw for when nobody may listen yet.
func (b *bundle) rawMaybe(text string) string {
	conn, err := net.DialTimeout("tcp", b.opts.Listen, time.Second)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.WriteString(conn, text)
	answer, _ := io.ReadAll(conn)
	return string(answer)
}

func TestEdge_UpstreamTrouble(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		_ = conn.Close()
	}), nil)
	b.tenant("hangs-up", tenants.Active, up)
	nobody := &upstream{address: netip.MustParseAddr("127.0.0.1"), httpPort: portOf(t, freeAddress(t)), eventPort: 1}
	b.tenant("not-there", tenants.Active, nobody)
	b.start()
	for _, name := range []string{"hangs-up", "not-there"} {
		res, body := b.get("http://" + name + ".example.test/web?token=hidden-in-query")
		require.Equal(t, 503, res.StatusCode)
		require.Equal(t, "5", res.Header.Get("Retry-After"))
		require.Contains(t, body, "isn&#39;t answering")
	}
	require.Contains(t, b.log.String(), "couldn't pass a request on")
	require.NotContains(t, b.log.String(), "hidden-in-query")
}

func TestEdge_Limits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.MaxBodyBytes = 1 << 20 })
	got := make(chan int64, 8)
	up := newUpstream(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got <- n
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()

	big := make([]byte, 1<<20)
	res, _ := b.do(b.request(http.MethodPost, "http://acme.example.test/web/binary/upload", bytes.NewReader(big)))
	require.Equal(t, 200, res.StatusCode)
	require.EqualValues(t, 1<<20, <-got)
	chunked := io.MultiReader(bytes.NewReader(big), strings.NewReader("one more")) // of unknown length
	res, _ = b.do(b.request(http.MethodPost, "http://acme.example.test/upload", chunked))
	require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	require.Contains(t, b.raw("POST / HTTP/1.1\r\nHost: acme.example.test\r\nContent-Length: 9999999999\r\nConnection: close\r\n\r\n"), "HTTP/1.1 413 ")
	require.Contains(t, b.raw("GET / HTTP/1.1\r\nHost: acme.example.test\r\nCookie: "+strings.Repeat("x", 64<<10)+"\r\n\r\n"), "HTTP/1.1 431 ")
}

func TestEdge_CompressesAndStreams(t *testing.T) {
	t.Parallel()
	b := setup(t)
	more := make(chan struct{})
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: first\n\n")
			_ = http.NewResponseController(w).Flush()
			<-more
			return
		}
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("Cache-Control", "public, max-age=31536000")
		_, _ = io.WriteString(w, strings.Repeat("<p>text</p>", 1000))
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()

	res, body := b.get("http://acme.example.test/page", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", res.Header.Get("Content-Encoding"))
	require.Equal(t, "public, max-age=31536000", res.Header.Get("Cache-Control"))
	require.Less(t, len(body), 1000)

	stream, err := b.client.Do(b.request(http.MethodGet, "http://acme.example.test/stream", nil))
	require.NoError(t, err)
	line, err := bufio.NewReader(stream.Body).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: first\n", line, "it comes before the answer is complete")
	close(more)
	require.NoError(t, stream.Body.Close())
}

func TestEdge_LetsRequestsFinishAtTheEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()
	answer := make(chan string, 1)
	go func() {
		_, body := b.get("http://acme.example.test/report")
		answer <- body
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { b.stop(); close(stopped) }()
	eventually(t, "no new connections", func() bool {
		conn, err := net.Dial("tcp", b.opts.Listen)
		if err != nil {
			return true
		}
		_ = conn.Close()
		return false
	})
	close(leave)
	require.Equal(t, "done", <-answer)
	<-stopped
}

func TestEdge_API(t *testing.T) {
	t.Parallel()
	api := newUpstream(t, http.HandlerFunc(echo), nil)
	b := setup(t, func(o *edge.Options) { o.APIUpstream = fmt.Sprintf("127.0.0.1:%d", api.httpPort) })
	b.start()
	res, body := b.get("http://api.example.test/api/health", forgedHeaders...)
	require.Equal(t, 200, res.StatusCode)
	require.Contains(t, body, "X-Forwarded-For: 127.0.0.1\r\n")
	require.NotContains(t, body, "6.6.6.6")
}

func TestEdge_PortInUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l, err := net.Listen("tcp", b.opts.Listen)
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	e, err := edge.New(b.opts)
	require.NoError(t, err)
	require.ErrorContains(t, e.Run(t.Context()), "address already in use")
}

func TestEdge_LargeUploadIsNotKeptInMemory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sums := make(chan int64, 1)
	up := newUpstream(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		sums <- n
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()
	res, _ := b.do(b.request(http.MethodPost, "http://acme.example.test/web/binary/upload_attachment", io.LimitReader(rand.Reader, 100<<20)))
	require.Equal(t, 200, res.StatusCode)
	require.EqualValues(t, 100<<20, <-sums)
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	parsed, err := netip.ParseAddrPort(address)
	require.NoError(t, err)
	return int(parsed.Port())
}
