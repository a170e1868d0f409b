package edge_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/postgres"
)

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
	flow   sync.RWMutex // held for writing while packets get lost
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
			go r.pass(out, in)
			go r.pass(in, out)
		}
	}()
}

func (r *relay) pass(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		r.flow.RLock()
		_, writeErr := to.Write(buffer[:n])
		r.flow.RUnlock()
		if err != nil || writeErr != nil {
			return
		}
	}
}

// swallow has everything get lost on its way, with no word to either side, until the function that it returns is called.
func (r *relay) swallow() (end func()) {
	r.flow.Lock()
	end = sync.OnceFunc(r.flow.Unlock)
	r.t.Cleanup(end)
	return end
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

func portOf(t *testing.T, address string) int {
	t.Helper()
	parsed, err := netip.ParseAddrPort(address)
	require.NoError(t, err)
	return int(parsed.Port())
}
