package edge_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// oneAtATime lets the tests of this package take turns: Caddy's configuration is global to the process.
var oneAtATime sync.Mutex //nolint:gochecknoglobals // see above

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
		LameDuck: time.Millisecond, DrainTimeout: 3 * time.Second, Log: slog.New(slog.NewTextHandler(b.log, nil)),
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

// start runs the edge until the test, or stop, ends it. It returns when the edge has a table and answers.
func (b *bundle) start() {
	b.t.Helper()
	b.run()
	eventually(b.t, "the edge answers", func() bool { return b.edge.Status().Loaded && b.listens() })
}

// run is start without waiting.
func (b *bundle) run() {
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
}

func (b *bundle) listens() bool {
	conn, err := net.Dial("tcp", b.opts.Listen)
	return err == nil && conn.Close() == nil
}

// tenant inserts a tenant in a state, at the upstream if there is one.
func (b *bundle) tenant(name string, state tenants.State, up *upstream) tenants.ID {
	b.t.Helper()
	var id tenants.ID
	err := b.pool.QueryRow(b.t.Context(), `
		WITH owner AS (INSERT INTO accounts (email, email_key, username, username_key, password_hash) VALUES ($2, $2, $2, $2, 'x') RETURNING id)
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline)
		SELECT id, $1, 'odoo_' || replace($1, '-', '_'), $1 || '.example.test', 'a@b.test', 'basic', 'pending', now()
		FROM owner RETURNING id`, name, secrets.RandomHex(4)).Scan(&id)
	require.NoError(b.t, err)
	b.setState(id, state)
	if up != nil {
		b.endpoint(id, up)
	}
	return id
}

func (b *bundle) exec(sql string, args ...any) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), sql, args...)
	require.NoError(b.t, err)
}

func (b *bundle) endpoint(id tenants.ID, up *upstream) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), "UPDATE tenants SET address = $2, http_port = $3, event_port = $4 WHERE id = $1",
		id, up.address, up.httpPort, up.eventPort)
	require.NoError(b.t, err)
}

func (b *bundle) setState(id tenants.ID, state tenants.State) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `UPDATE tenants SET state = $2::text,
		desired = CASE WHEN $2 IN ('scheduled_for_deletion', 'deleting', 'deleted') THEN 'deleted' WHEN $2 = 'suspended' THEN 'suspended' ELSE 'active' END,
		suspended_by = CASE WHEN $2 = 'suspended' THEN 'admin' END,
		return_state = CASE WHEN $2 = 'scheduled_for_deletion' THEN 'active' END,
		deletion_scheduled_at = CASE WHEN $2 = 'scheduled_for_deletion' THEN now() END,
		paid_at = CASE WHEN $2 <> 'pending' THEN now() END,
		deleted_at = CASE WHEN $2 = 'deleted' THEN now() END WHERE id = $1`, id, state)
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

// answer is a response that has been read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (b *bundle) do(r *http.Request) answer {
	b.t.Helper()
	res, err := b.client.Do(r)
	require.NoError(b.t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(b.t, err)
	return answer{status: res.StatusCode, header: res.Header, body: string(body)}
}

func (b *bundle) get(url string, headers ...string) answer {
	b.t.Helper()
	return b.do(b.request(http.MethodGet, url, nil, headers...))
}

func (b *bundle) status(url string) int {
	b.t.Helper()
	return b.get(url).status
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

// eventuallySlow is for what takes its time by design, in a browser say.
func eventuallySlow(t *testing.T, what string, done func() bool) {
	t.Helper()
	require.Eventually(t, done, time.Minute, 50*time.Millisecond, what)
}
