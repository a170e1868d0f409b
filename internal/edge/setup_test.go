package edge_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// oneAtATime lets the tests of this package take turns: Caddy's configuration is global to the process.
var oneAtATime sync.Mutex

// bundle is a running edge in front of a real database.
type bundle struct {
	t      *testing.T
	pool   *pgxpool.Pool // straight to the database
	opts   edge.Options
	log    *logBuffer
	edge   *edge.Edge
	stop   func()
	client *http.Client
}

func setup(t *testing.T, change ...func(*edge.Options)) *bundle {
	t.Helper()
	oneAtATime.Lock()
	t.Cleanup(oneAtATime.Unlock)
	b := &bundle{t: t, pool: pgtest.New(t), log: &logBuffer{}}
	b.opts = edge.Options{
		Listen: freeAddress(t), BaseDomain: "example.test", Pool: b.pool, StateFile: filepath.Join(t.TempDir(), "edge", "routes.json"),
		DrainTimeout: 3 * time.Second, Log: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	for _, c := range change {
		c(&b.opts)
	}
	dialer := &net.Dialer{}
	b.client = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "tcp", b.opts.Listen)
			},
			DisableCompression: true, // or the transport would hide what the edge does
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       20 * time.Second,
	}
	t.Cleanup(b.client.CloseIdleConnections)
	return b
}

// start runs the edge until the test, or stop, ends it. It returns when the edge answers.
func (b *bundle) start() *bundle {
	b.t.Helper()
	e, err := edge.New(b.opts)
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	b.edge, b.stop = e, sync.OnceFunc(func() {
		cancel()
		assert.NoError(b.t, <-done)
	})
	b.t.Cleanup(b.stop)
	eventually(b.t, "the edge answers", func() bool {
		conn, err := net.Dial("tcp", b.opts.Listen)
		if err != nil {
			return false
		}
		return conn.Close() == nil && e.Status().Loaded
	})
	return b
}

// tenant inserts a tenant in a state, at the upstream if there is one.
func (b *bundle) tenant(name string, state tenants.State, up *upstream) tenants.ID {
	b.t.Helper()
	var id tenants.ID
	err := b.pool.QueryRow(b.t.Context(), `
		WITH owner AS (INSERT INTO accounts (email, email_key, username, username_key, password_hash) VALUES ($3, $3, $3, $3, 'x') RETURNING id)
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline, paid_at, deleted_at)
		SELECT id, $1, 'odoo_' || replace($1, '-', '_'), $1 || '.example.test', 'a@b.test', 'basic', $2::text, now(), now(),
			CASE WHEN $2 = 'deleted' THEN now() END
		FROM owner RETURNING id`, name, state, secrets.RandomHex(4)).Scan(&id)
	require.NoError(b.t, err)
	if up != nil {
		b.endpoint(id, up)
	}
	return id
}

func (b *bundle) endpoint(id tenants.ID, up *upstream) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), "UPDATE tenants SET address = $2, http_port = $3, event_port = $4 WHERE id = $1",
		id, up.address, up.httpPort, up.eventPort)
	require.NoError(b.t, err)
}

func (b *bundle) setState(id tenants.ID, state tenants.State) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `UPDATE tenants SET state = $2::text, deleted_at = CASE WHEN $2 = 'deleted' THEN now() END WHERE id = $1`, id, state)
	require.NoError(b.t, err)
}

func (b *bundle) request(method, url string, body io.Reader, headers ...string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, url, body)
	require.NoError(b.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// do sends a request and returns the answer with its body read.
func (b *bundle) do(r *http.Request) (*http.Response, string) {
	b.t.Helper()
	res, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return res, string(body)
}

func (b *bundle) get(url string, headers ...string) (*http.Response, string) {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, url, nil, headers...))
}

func (b *bundle) status(url string) int {
	b.t.Helper()
	res, _ := b.get(url)
	return res.StatusCode
}

// raw sends bytes as they are and returns the answer's status line and everything after it.
func (b *bundle) raw(text string) string {
	b.t.Helper()
	conn, err := net.Dial("tcp", b.opts.Listen)
	require.NoError(b.t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(b.t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, text)
	require.NoError(b.t, err)
	answer, _ := io.ReadAll(conn) // a reset after the answer is fine
	return string(answer)
}

// upstream stands for a tenant's Odoo: one server for pages, one for events.
type upstream struct {
	address             netip.Addr
	httpPort, eventPort int
	requests            atomic.Int64
}

// newUpstream serves pages with handler, and events with events (nil: the same).
func newUpstream(t *testing.T, handler, events http.Handler) *upstream {
	t.Helper()
	up := &upstream{address: netip.MustParseAddr("127.0.0.1")}
	if events == nil {
		events = handler
	}
	serve := func(h http.Handler) int {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			up.requests.Add(1)
			h.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		_, port, err := net.SplitHostPort(server.Listener.Addr().String())
		require.NoError(t, err)
		n, err := strconv.Atoi(port)
		require.NoError(t, err)
		return n
	}
	up.httpPort, up.eventPort = serve(handler), serve(events)
	return up
}

func says(text string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, text)
	})
}

// relay stands between the edge and PostgreSQL and can be cut.
type relay struct {
	t      *testing.T
	listen string
	to     string
	mu     sync.Mutex
	l      net.Listener
	conns  []net.Conn
}

// viaRelay makes the edge reach the database through a relay.
func viaRelay(t *testing.T) (*relay, func(*edge.Options)) {
	t.Helper()
	r := &relay{t: t, listen: freeAddress(t)}
	return r, func(o *edge.Options) {
		config := o.Pool.Config().ConnConfig
		r.to = net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
		url := "postgres://" + config.User + ":" + config.Password + "@" + r.listen + "/" + config.Database + "?sslmode=disable"
		pool, err := postgres.Open(t.Context(), url, postgres.Options{MaxConns: 2, ConnectTimeout: time.Second})
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		o.Pool = pool
		r.restore()
		t.Cleanup(r.cut)
	}
}

func (r *relay) restore() {
	l, err := net.Listen("tcp", r.listen)
	require.NoError(r.t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.l = l
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", r.to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.l != nil {
		_ = r.l.Close()
	}
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.l, r.conns = nil, nil
}

// logBuffer collects the log for looking at it.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	require.Eventually(t, done, 10*time.Second, 2*time.Millisecond, what)
}
