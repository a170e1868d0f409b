package edge

import (
	"context"
	"net/http"
	"os"
	"strings"
	"time"
)

// Several edges may listen on one address (SO_REUSEPORT): the kernel deals new connections out among them. A restart without a dropped
// request is a new edge beside the old one, which then ends in three steps: its answers ask clients to come back on a new connection, which
// any of the edges may get; it stops listening, and the kernel gives what was waiting for it to the others; what it is answering is finished.

// migrates says whether the kernel gives the connections that wait for an edge that ends to the others; otherwise they are reset.
const migrates = "/proc/sys/net/ipv4/tcp_migrate_req"

// checkHandOver tells operators what a restart needs.
func (e *Edge) checkHandOver(ctx context.Context) {
	value, err := os.ReadFile(migrates)
	if err == nil && strings.TrimSpace(string(value)) != "0" {
		return
	}
	e.log.InfoContext(ctx, "connections that are being opened while an edge ends are lost: set net.ipv4.tcp_migrate_req=1 (Linux 5.14)")
}

// sayGoodbye has answers ask for their connections to be closed, for so long that whoever keeps asking has heard it.
func (e *Edge) sayGoodbye(ctx context.Context) {
	e.leaving.Store(true)
	e.log.InfoContext(context.WithoutCancel(ctx), "edge is ending; it takes its leave of its clients")
	time.Sleep(e.opts.LameDuck)
}

// releaseConnection asks the client to close its connection if this edge is about to. A WebSocket's answer has a Connection header of its
// own.
func (e *Edge) releaseConnection(h http.Header, r *http.Request) {
	if e.leaving.Load() && r.Header.Get("Upgrade") == "" {
		h.Set("Connection", "close")
	}
}
