package edge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Several edges may listen on one address (SO_REUSEPORT): the kernel deals new connections out among them. A restart without a dropped
// request is a new edge beside the old one, which then ends in three steps: it stops listening, and the kernel gives what was waiting for it
// to the others; its answers ask clients to come back on a new connection; what it is answering is finished. The first has to come before
// Go's server knows of the end, since that doesn't answer what it hears after it, not even on a connection that it has just taken.

// migrates says whether the kernel gives the connections that wait for an edge that ends to the others; otherwise they are reset.
const migrates = "/proc/sys/net/ipv4/tcp_migrate_req"

const (
	drainLook  = 5 * time.Millisecond
	drainQuiet = 100 * time.Millisecond // that nothing may be going on: a connection was perhaps taken, and isn't counted yet
)

// checkHandOver tells operators what a restart needs.
func (e *Edge) checkHandOver(ctx context.Context) {
	value, err := os.ReadFile(migrates)
	if err == nil && strings.TrimSpace(string(value)) != "0" {
		return
	}
	e.log.InfoContext(ctx, "connections that are being opened while an edge ends are lost: set net.ipv4.tcp_migrate_req=1 (Linux 5.14)")
}

// sayGoodbye takes no more connections, and has answers ask for theirs to be closed, for so long that whoever keeps asking has heard it.
func (e *Edge) sayGoodbye(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	e.leaving.Store(true)
	e.log.InfoContext(ctx, "edge is ending; it takes its leave of its clients")
	if err := e.doors.close(); err != nil {
		e.log.WarnContext(ctx, "edge couldn't stop listening", "error", err)
	}
	time.Sleep(e.opts.LameDuck)
}

// doors are all that an edge listens on.
type doors struct {
	mu   sync.Mutex
	list []net.Listener
}

func (d *doors) add(l net.Listener) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, l)
}

func (d *doors) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var problems []error
	for _, l := range d.list {
		problems = append(problems, l.Close())
	}
	return errors.Join(problems...)
}

// listeners is the module by which Caddy's listeners become known to the edge.
type listeners struct {
	Edge string `json:"edge"`

	edge *Edge
}

// CaddyModule names the module.
func (*listeners) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.odoohost", New: func() caddy.Module { return new(listeners) }}
}

// Provision finds the edge.
func (l *listeners) Provision(caddy.Context) (err error) {
	l.edge, err = instance(l.Edge)
	return err
}

// WrapListener notes the listener, and leaves it as it is.
func (l *listeners) WrapListener(inner net.Listener) net.Listener {
	l.edge.doors.add(inner)
	return inner
}

// drain waits until all that was begun is answered and its connections are closed, or DrainTimeout is over: Caddy's own stop only begins to
// close them.
func (e *Edge) drain(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	limited, cancel := context.WithTimeout(ctx, e.opts.DrainTimeout)
	defer cancel()
	if !untilQuiet(limited, drainQuiet, e.open.none) {
		e.log.WarnContext(ctx, "edge cuts off what takes too long", "connections", e.open.connections.Load(), "requests", e.open.requests.Load())
	}
}

// untilQuiet returns when nothing was going on for as long as quiet, or false when ctx ends before.
func untilQuiet(ctx context.Context, quiet time.Duration, none func() bool) bool {
	look := time.NewTicker(drainLook)
	defer look.Stop()
	for since := time.Duration(0); since < quiet; {
		select {
		case <-look.C:
			if since += drainLook; !none() {
				since = 0
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// openBook counts what an edge has to finish. HTTP/3 has requests only; of the rest a request's last bytes may still be on their way when
// its handler is done, so that the connection counts.
type openBook struct{ connections, requests atomic.Int64 }

// follow is told what becomes of connections. One that was taken over, for a WebSocket, is nobody's to wait for.
func (b *openBook) follow(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		b.connections.Add(1)
	case http.StateClosed, http.StateHijacked:
		b.connections.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

func (b *openBook) none() bool { return b.connections.Load() <= 0 && b.requests.Load() <= 0 }

// releaseConnection asks the client to close its connection if this edge is about to. A WebSocket's answer has a Connection header of its
// own, and HTTP/3 knows none.
func (e *Edge) releaseConnection(h http.Header, r *http.Request) {
	if e.leaving.Load() && r.Header.Get("Upgrade") == "" && r.ProtoMajor < 3 {
		h.Set("Connection", "close")
	}
}
