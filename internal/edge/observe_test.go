package edge_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

func TestEdge_AccessLog(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.AccessLog = filepath.Join(t.TempDir(), "logs", "access.log") })
	id := b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.start()
	res := b.do(b.request(http.MethodPost, "http://user:secret-password@acme.example.test/web/login?token=secret-query", strings.NewReader("login=x&password=secret-body"),
		"Cookie", "session_id=secret-cookie", "Referer", "http://acme.example.test/?access_token=secret-referrer", "User-Agent", "test/1 \"\t"))
	require.Equal(t, 200, res.status)
	require.Equal(t, 404, b.status("http://nobody.example.test/x"))
	require.Equal(t, 200, b.status("http://acme.example.test/api/downloads/secret-link"))
	b.raw("GET /a%0ab HTTP/1.1\r\nHost: x\ny\r\n\r\n")
	b.stop()

	text, err := os.ReadFile(b.opts.AccessLog)
	require.NoError(t, err)
	require.NotContains(t, string(text), "secret")
	var lines []map[string]any
	for scanner := bufio.NewScanner(strings.NewReader(string(text))); scanner.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line))
		lines = append(lines, line)
	}
	require.GreaterOrEqual(t, len(lines), 2)
	first := lines[0]
	for name, want := range map[string]any{
		"host": "acme.example.test", "tenant": "acme", "tenant_id": float64(id), "client": "127.0.0.1", "method": "POST", "path": "/web/login",
		"proto": "HTTP/1.1", "tls": false, "status": 200.0, "bytes_received": 28.0, "bytes_sent": 4.0,
	} {
		require.Equal(t, want, first[name], name)
	}
	require.Positive(t, first["duration_ms"])
	require.Equal(t, "unknown", lines[1]["page"])
	info, err := os.Stat(b.opts.AccessLog)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o007, "nobody else reads who came from where")
}

// What Caddy itself has to say ends up in our log, without what may be secret.
func TestEdge_LogsWhatCaddySays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.start()
	request := b.request(http.MethodGet, "http://acme.example.test/?token=secret-query", nil, "Cookie", "secret-cookie")
	caddy.Log().Named("http").With(zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request})).Error("something is wrong")
	caddy.Log().Info("nothing of interest")
	b.stop()
	require.Contains(t, b.log.String(), "something is wrong")
	require.NotContains(t, b.log.String(), "secret")
	require.NotContains(t, b.log.String(), "nothing of interest")
}

func TestEdge_ServesWithoutItsAccessLog(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	b := setup(t, func(o *edge.Options) { o.AccessLog = filepath.Join(file, "access.log") })
	b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.start()
	require.Equal(t, 200, b.status("http://acme.example.test/"))
	eventually(t, "it is told", func() bool { return strings.Contains(b.log.String(), "can't write its access log") })
}

func TestEdge_Metrics(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.MetricsListen = freeAddress(t) })
	before, err := net.Listen("tcp", b.opts.MetricsListen) // the edge that this one takes over from
	require.NoError(t, err)
	id := b.tenant("acme", tenants.Active, newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "12345")
	}), nil))
	b.start()
	for _, path := range []string{"/", "/x", "/broken"} {
		b.get("http://acme.example.test" + path)
	}
	b.get("http://nobody.example.test/")
	require.NoError(t, before.Close())
	eventually(t, "metrics are told as soon as their address is free", func() bool {
		conn, err := net.Dial("tcp", b.opts.MetricsListen)
		return err == nil && conn.Close() == nil
	})
	metrics := func(path string) string {
		res, err := http.Get("http://" + b.opts.MetricsListen + path) //nolint:noctx // a test
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		require.Equal(t, 200, res.StatusCode)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return string(body)
	}
	text := metrics("/metrics")
	for _, line := range []string{
		`odoohost_edge_requests_total{class="2",tenant="acme"} 2`, `odoohost_edge_requests_total{class="5",tenant="acme"} 1`,
		`odoohost_edge_request_duration_seconds_count{tenant="acme"} 3`, `odoohost_edge_body_bytes_total{direction="out",tenant="acme"} 15`,
		`odoohost_edge_tenant_healthy{tenant="acme"} 1`, `odoohost_edge_requests_total{class="4",tenant="(none)"} 1`,
		`odoohost_edge_routes 1`, `odoohost_edge_feed_connected 1`, `odoohost_edge_open_requests{tenant="acme"} 0`,
	} {
		require.Contains(t, text, line+"\n")
	}
	require.Contains(t, metrics("/health"), `"loaded":true`)
	b.setState(id, tenants.Deleted)
	eventually(t, "who is gone has no metrics", func() bool { return !strings.Contains(metrics("/metrics"), `"acme"`) })
}

func TestEdge_TellsWhoseUsersGetErrors(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var failing []string
	refuse, looks := true, 0
	b := setup(t, func(o *edge.Options) {
		o.HealthInterval = 100 * time.Millisecond
		o.OnHealth = func(_ context.Context, _ string, now []edge.TenantHealth) error {
			mu.Lock()
			defer mu.Unlock()
			if looks++; refuse {
				return errors.New("not now")
			}
			failing = []string{}
			for _, h := range now {
				failing = append(failing, h.Name)
			}
			return nil
		}
	})
	told := func() (names []string, times int) {
		mu.Lock()
		defer mu.Unlock()
		return failing, looks
	}
	status := make(chan int, 1)
	status <- 500
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s := <-status
		status <- s
		w.WriteHeader(s)
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.tenant("fine", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.tenant("asleep", tenants.Suspended, up)
	b.start()
	ask := func() {
		for _, name := range []string{"acme", "fine", "asleep"} {
			for range 3 {
				b.get("http://" + name + ".example.test/web")
			}
		}
	}
	eventually(t, "it is told again as long as nobody takes it", func() bool { ask(); _, times := told(); return times > 3 })
	mu.Lock()
	refuse = false
	mu.Unlock()
	eventually(t, "it is noticed", func() bool { ask(); names, _ := told(); return slices.Equal(names, []string{"acme"}) })
	<-status
	status <- 200
	eventually(t, "and when it is over", func() bool {
		b.get("http://acme.example.test/web")
		names, _ := told()
		return len(names) == 0
	})
	require.Equal(t, 1, strings.Count(b.log.String(), "can't tell of its tenants' health"))
}
