package edge_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

func TestEdge_LimitsCallsPerAddress(t *testing.T) {
	t.Parallel()
	b := setup(t, behindProxy)
	up := newUpstream(t, says("odoo"), nil)
	b.tenant("acme", tenants.Active, up)
	b.tenant("other", tenants.Active, up)
	b.start()
	from := func(address, path string, headers ...string) answer {
		return b.get("http://acme.example.test"+path, append([]string{"X-Forwarded-For", address}, headers...)...)
	}
	refused := func(address string, paths ...string) (n int) {
		for i := range 40 {
			if from(address, paths[i%len(paths)]).status == 429 {
				n++
			}
		}
		return n
	}
	// Twenty at once and some more while it runs; never all forty, unless this machine takes two seconds for them.
	began := time.Now()
	n := refused("192.0.2.1", "/web/login", "/web/session/authenticate", "/web/reset_password", "/xmlrpc/2/object", "/json/2/res.partner/read")
	if took := time.Since(began); took < time.Second {
		require.Positive(t, n, "after %s", took)
	}
	for _, path := range []string{"/", "/web", "/web/dataset/call_kw/res.partner/read", "/web/dataset/call_button", "/web/assets/1/x.js", "/json/1/x", "/websocket"} {
		require.Zero(t, refused("192.0.2.2", path), path)
	}
	// One address is one caller whichever way it writes the path, in whichever name it calls; and an IPv6 caller has a whole network.
	exhaust := func(address string) {
		eventually(t, "the limit is reached", func() bool { return from(address, "/web/login").status == 429 })
	}
	for _, path := range []string{"/fr/web/login", "/WEB//login", "/web/./login", "/web/%6cogin?x=1", "/web/login/totp", "/web/dataset/../login"} {
		exhaust("192.0.2.3")
		require.Equal(t, 429, from("192.0.2.3", path).status, path)
	}
	exhaust("192.0.2.3")
	require.Equal(t, 429, b.get("http://other.example.test/web/login", "X-Forwarded-For", "192.0.2.3").status)
	require.Equal(t, 200, from("192.0.2.4", "/web/login").status, "others aren't held back")
	exhaust("2001:db8::1")
	require.Equal(t, 429, from("2001:db8::2", "/web/login").status)
	require.Equal(t, 200, from("2001:db8:0:1::1", "/web/login").status)

	exhaust("192.0.2.5")
	res := from("192.0.2.5", "/web/login", "Accept", "text/html")
	require.Equal(t, 429, res.status)
	require.Equal(t, "1", res.header.Get("Retry-After"))
	require.Contains(t, res.body, "<h1>Too many requests</h1>")
	require.Contains(t, from("192.0.2.5", "/jsonrpc").body, `"code":"too_many_requests"`, "a program gets JSON")
	// A limit is no ban: a second later it is over.
	eventually(t, "the wait is over", func() bool { return from("192.0.2.5", "/web/login").status == 200 })
}

func TestEdge_LimitsTheAPIPerAddress(t *testing.T) {
	t.Parallel()
	api := newUpstream(t, http.HandlerFunc(echo), nil)
	b := setup(t, behindProxy, func(o *edge.Options) { o.APIUpstream = fmt.Sprintf("127.0.0.1:%d", api.httpPort) })
	b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.start()
	get := func(path string) answer { return b.get("http://api.example.test"+path, "X-Forwarded-For", "192.0.2.9") }
	eventually(t, "the limit is reached", func() bool { return get("/api/health").status == 429 })
	for range 40 {
		require.Equal(t, 200, get("/api/payments/webhook").status, "the gateway is never held back")
	}
	eventually(t, "the limit is reached", func() bool { return get("/api/plans").status == 429 })
	res := get("/api/payments/webhook/../../clients")
	require.Equal(t, 429, res.status)
	require.Equal(t, "application/problem+json", res.header.Get("Content-Type"))
	require.NotEmpty(t, res.header.Get("Retry-After"))

	reached := api.requests.Load()
	for i, path := range []string{"/metrics", "/debug/pprof/", "/internal/x", "//metrics", "/%6detrics", "/x/../metrics"} {
		res := b.get("http://api.example.test"+path, "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
		require.Equal(t, 404, res.status, path)
	}
	// A tenant's address never leads to the API, whatever else the request says.
	for _, text := range []string{
		"GET /api/health HTTP/1.1\r\nHost: acme.example.test\r\nX-Forwarded-Host: api.example.test\r\nConnection: close\r\n\r\n",
		"GET /api/health HTTP/1.1\r\nHost: acme.example.test\r\nForwarded: host=api.example.test\r\nConnection: close\r\n\r\n",
		"GET /api/health HTTP/1.1\r\nHost: api.example.test\r\nHost: acme.example.test\r\nConnection: close\r\n\r\n",
		"GET /api/health HTTP/1.1\r\nHost: xapi.example.test\r\nConnection: close\r\n\r\n",
		"GET /api/health HTTP/1.1\r\nHost: api.example.test.evil.test\r\nConnection: close\r\n\r\n",
	} {
		b.raw(text)
	}
	require.Equal(t, reached, api.requests.Load())
}

// A script on another site learns what the edge says in the API's place, if the API would let it read its answers.
func TestEdge_AnswersForTheAPICanBeReadByItsFrontEnds(t *testing.T) {
	t.Parallel()
	api := newUpstream(t, says("api"), nil)
	b := setup(t, behindProxy, func(o *edge.Options) {
		o.APIUpstream, o.CORSOrigins = fmt.Sprintf("127.0.0.1:%d", api.httpPort), []string{"https://app.example.com"}
	})
	b.start()
	call := func(method, path, origin string, headers ...string) answer {
		headers = append(headers, "X-Forwarded-For", "192.0.2.9", "Origin", origin)
		return b.do(b.request(method, "http://api.example.test"+path, nil, headers...))
	}
	eventually(t, "the limit is reached", func() bool { return call("GET", "/api/plans", "https://app.example.com").status == 429 })
	limited := call("GET", "/api/plans", "https://app.example.com")
	require.Equal(t, 429, limited.status)
	require.Equal(t, "1", limited.header.Get("Retry-After"))
	require.Equal(t, "https://app.example.com", limited.header.Get("Access-Control-Allow-Origin"))
	require.Contains(t, limited.header.Get("Access-Control-Expose-Headers"), "Retry-After")
	require.Equal(t, []string{"Origin", "Accept"}, limited.header.Values("Vary"))
	asked := call("OPTIONS", "/api/plans", "https://app.example.com", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
	require.Equal(t, 204, asked.status, "or the browser would tell its script nothing of the limit")
	require.Contains(t, asked.header.Get("Access-Control-Allow-Headers"), "Authorization")
	for _, origin := range []string{"", "null", "https://evil.example.com"} {
		require.Empty(t, call("GET", "/metrics", origin).header.Get("Access-Control-Allow-Origin"), origin)
	}
	require.Equal(t, "https://app.example.com", call("GET", "/metrics", "https://app.example.com").header.Get("Access-Control-Allow-Origin"))
	require.Empty(t, b.get("http://nobody.example.test/", "Origin", "https://app.example.com").header.Get("Access-Control-Allow-Origin"), "the API's alone")

	o := b.opts
	o.CORSOrigins = []string{"*"}
	_, err := edge.New(o)
	require.Error(t, err)
}

func TestEdge_APIThatIsDownIsSaidSo(t *testing.T) {
	t.Parallel()
	nobody := freeAddress(t)
	b := setup(t, func(o *edge.Options) { o.APIUpstream = nobody })
	b.start()
	res := b.get("http://api.example.test/api/health")
	require.Equal(t, 503, res.status)
	require.Contains(t, res.body, `"code":"api_not_answering"`)
}

func TestEdge_BodiesByPlan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("UPDATE plans SET max_body_mb = CASE id WHEN 'basic' THEN 1 ELSE 2 END")
	id := b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.start()
	upload := func(body io.Reader) int {
		return b.do(b.request(http.MethodPost, "http://acme.example.test/web/binary/upload_attachment", body)).status
	}
	large := make([]byte, 3<<19)
	require.Contains(t, b.raw("POST /upload HTTP/1.1\r\nHost: acme.example.test\r\nContent-Length: 1048577\r\nConnection: close\r\n\r\n"), "HTTP/1.1 413 ")
	require.Equal(t, 413, upload(io.MultiReader(bytes.NewReader(large[:1<<20+1]))), "of unknown length")
	require.Equal(t, 200, upload(bytes.NewReader(large[:1<<20])))
	b.exec("UPDATE tenants SET plan_id = 'business' WHERE id = $1", id)
	eventually(t, "the larger plan counts at once", func() bool {
		res, err := b.client.Do(b.request(http.MethodPost, "http://acme.example.test/upload", bytes.NewReader(large)))
		if err != nil {
			return false // the refusal came while we were still sending
		}
		return res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
}

func TestEdge_CapsATenantsConnections(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("UPDATE plans SET max_connections = 10")
	leave := make(chan struct{})
	up := newUpstream(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-leave
		}
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.tenant("other", tenants.Active, up)
	b.start()
	var slow sync.WaitGroup
	for range 10 {
		r := b.request(http.MethodGet, "http://acme.example.test/slow", nil)
		slow.Go(func() {
			if res, err := b.client.Do(r); err == nil {
				_ = res.Body.Close()
			}
		})
	}
	eventually(t, "all are there", func() bool { return up.requests.Load() == 10 })
	res := b.get("http://acme.example.test/web", "Accept", "application/json")
	require.Equal(t, 503, res.status)
	require.Contains(t, res.body, `"code":"busy"`)
	require.NotEmpty(t, res.header.Get("Retry-After"))
	require.Equal(t, 200, b.status("http://other.example.test/web"), "others have their own")
	close(leave)
	slow.Wait()
	eventually(t, "there is room again", func() bool { return b.status("http://acme.example.test/web") == 200 })
}

func TestEdge_SlowClientsAreCutOff(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.SlowClient = time.Second })
	up := newUpstream(t, says("odoo"), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()
	stalled := b.raw("POST /upload HTTP/1.1\r\nHost: acme.example.test\r\nContent-Length: 100\r\n\r\nhalf")
	require.Contains(t, stalled, "HTTP/1.1 408 ")

	// One byte now and then is no progress either.
	conn, err := net.Dial("tcp", b.opts.Listen)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "POST /upload HTTP/1.1\r\nHost: acme.example.test\r\nContent-Length: 100000\r\n\r\n")
	require.NoError(t, err)
	began := time.Now()
	for err == nil && time.Since(began) < 8*time.Second {
		tick := time.NewTimer(50 * time.Millisecond)
		<-tick.C
		_, err = conn.Write([]byte("x"))
	}
	require.Error(t, err, "the connection was closed")
	// A body that has come doesn't limit how long the answer takes, and what is steady goes on.
	steady := io.LimitReader(&trickle{every: 100 * time.Millisecond, piece: 4 << 10}, 80<<10)
	require.Equal(t, 200, b.do(b.request(http.MethodPost, "http://acme.example.test/upload", steady)).status)
}

func TestEdge_LongRequestAfterItsBody(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.SlowClient = 300 * time.Millisecond })
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		timer := time.NewTimer(1200 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
			_, _ = io.WriteString(w, "report")
		case <-r.Context().Done():
		}
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()
	res := b.do(b.request(http.MethodPost, "http://acme.example.test/report", strings.NewReader("{}")))
	require.Equal(t, 200, res.status)
	require.Equal(t, "report", res.body)
}

// trickle is a body that comes in small pieces.
type trickle struct {
	every time.Duration
	piece int
}

func (t *trickle) Read(p []byte) (int, error) {
	timer := time.NewTimer(t.every)
	<-timer.C
	return min(len(p), t.piece), nil
}
