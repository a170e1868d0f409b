package edge_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

func TestEdge_RouteChangesAreSeenAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, says("odoo"), nil)
	b.start()
	eventually(t, "the edge listens", func() bool { return b.edge.Status().Connected })
	var took []time.Duration
	seen := func(host string, want int, change func()) {
		change()
		began := time.Now()
		eventually(t, "the change is seen", func() bool { return b.status("http://"+host+".example.test/") == want })
		took = append(took, time.Since(began))
	}
	var id tenants.ID
	for i := range 10 {
		name := fmt.Sprintf("client-%d", i)
		seen(name, 402, func() { id = b.tenant(name, tenants.Pending, nil) })
		seen(name, 200, func() { b.endpoint(id, up); b.setState(id, tenants.Active) })
		seen(name, 503, func() { b.setState(id, tenants.Suspended) })
		seen(name, 404, func() { b.setState(id, tenants.Deleted) })
	}
	slices.Sort(took)
	t.Logf("of 40 changes half were seen after %s, all after %s", took[20], took[39])
	require.Less(t, took[20], 500*time.Millisecond) // 100 ms is the aim; a loaded machine may be late, and now and then very late

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
	b.run()
	eventually(t, "the edge listens", b.listens)
	require.Equal(t, 503, b.status("http://acme.example.test/"), "an honest answer before there is a table")
	cable.restore()
	eventually(t, "the table arrives", func() bool { return b.status("http://acme.example.test/") == 200 })
	require.Contains(t, b.log.String(), "can't use its copy")
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
		res := b.get("http://" + name + ".example.test/web?token=hidden-in-query")
		require.Equal(t, 503, res.status)
		require.Equal(t, "5", res.header.Get("Retry-After"))
		require.Contains(t, res.body, "isn&#39;t answering")
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
	res := b.do(b.request(http.MethodPost, "http://acme.example.test/web/binary/upload", bytes.NewReader(big)))
	require.Equal(t, 200, res.status)
	require.EqualValues(t, 1<<20, <-got)
	chunked := io.MultiReader(bytes.NewReader(big), strings.NewReader("one more")) // of unknown length
	res = b.do(b.request(http.MethodPost, "http://acme.example.test/upload", chunked))
	require.Equal(t, http.StatusRequestEntityTooLarge, res.status)
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

	res := b.get("http://acme.example.test/page", "Accept-Encoding", "gzip")
	require.Equal(t, "gzip", res.header.Get("Content-Encoding"))
	require.Equal(t, "public, max-age=31536000", res.header.Get("Cache-Control"))
	require.Less(t, len(res.body), 1000)

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
		body := b.get("http://acme.example.test/report").body
		answer <- body
	}()
	<-entered
	stopped := make(chan struct{})
	go func() { b.stop(); close(stopped) }()
	eventually(t, "no new connections", func() bool { return !b.listens() })
	close(leave)
	require.Equal(t, "done", <-answer)
	<-stopped
}

// A client that keeps its connection is asked to come back on another one before anything is closed.
func TestEdge_TakesItsLeave(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *edge.Options) { o.LameDuck = 2 * time.Second })
	b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.start()
	conn, err := net.Dial("tcp", b.opts.Listen)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	in := bufio.NewReader(conn)
	ask := func() *http.Response {
		_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: acme.example.test\r\n\r\n")
		require.NoError(t, err)
		res, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return res
	}
	require.False(t, ask().Close)
	go b.stop()
	eventually(t, "it is ending", func() bool { return strings.Contains(b.log.String(), "takes its leave") })
	res := ask()
	require.Equal(t, 200, res.StatusCode)
	require.True(t, res.Close)
	_, err = in.ReadByte()
	require.ErrorIs(t, err, io.EOF)
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
	res := b.do(b.request(http.MethodPost, "http://acme.example.test/web/binary/upload_attachment", io.LimitReader(rand.Reader, 100<<20)))
	require.Equal(t, 200, res.status)
	require.EqualValues(t, 100<<20, <-sums)
}
