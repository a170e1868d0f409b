package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/time/rate"
)

const (
	tlsServerName = "edge_tls"
	// quicLook is how often an edge looks whether the one before it has let the port go.
	quicLook = 250 * time.Millisecond
	// quicPatience is for how long another may have the port before operators are told: longer than a hand-over takes.
	quicPatience = time.Minute
	// quicAgain is after how long an edge that couldn't serve HTTP/3 tries again.
	quicAgain = 10 * time.Second
	// unprovenHandshakes is from how many handshakes a second clients have to show first that their address is theirs.
	unprovenHandshakes = 1000
)

// keepQUIC serves HTTP/3 until ctx ends, and tries again when it couldn't: nothing else depends on it, and browsers use HTTP/2 meanwhile.
func (e *Edge) keepQUIC(ctx context.Context) {
	for ctx.Err() == nil {
		if err := e.serveQUIC(ctx); err != nil && ctx.Err() == nil {
			e.log.ErrorContext(ctx, "edge serves no HTTP/3", "listen", e.tls.Listen, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(quicAgain):
		}
	}
}

// serveQUIC serves HTTP/3 with the routes of HTTPS until ctx ends, and finishes what was begun. One process has the port to itself: among
// sockets that share one the kernel deals out packets, not connections, so that a second edge would break those of the first. It takes HTTP/3
// up when the first has let go; until then browsers, to which nothing is announced, use HTTP/2.
func (e *Edge) serveQUIC(ctx context.Context) error {
	conn, err := e.claimUDP(ctx)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	defer func() { _ = conn.Close() }()
	var asked inFlight
	server, listener, stop, err := e.openQUIC(conn, &asked)
	if err != nil {
		return err
	}
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.ServeListener(listener) }()
	e.tls.quic.Store(true)
	e.log.InfoContext(ctx, "edge serves HTTP/3", "listen", e.tls.Listen)
	select {
	case err := <-ended:
		e.tls.quic.Store(false)
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	e.tls.quic.Store(false)
	_ = listener.Close() // who comes now is refused at once, and uses TCP
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.opts.LameDuck+e.opts.DrainTimeout)
	defer cancel()
	go func() { // clients are told to go, and needn't
		defer cancel()
		untilQuiet(leaving, e.opts.LameDuck, asked.none)
	}()
	if err := server.Shutdown(leaving); err != nil && !errors.Is(err, context.Canceled) {
		e.log.WarnContext(ctx, "edge cuts off what takes too long over HTTP/3", "requests", asked.Load())
	}
	return nil
}

// inFlight counts requests that have to be finished. A WebSocket is nobody's to wait for.
type inFlight struct{ atomic.Int64 }

func (f *inFlight) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !connectsSocket(r) {
			f.Add(1)
			defer f.Add(-1)
		}
		next.ServeHTTP(w, r)
	})
}

func (f *inFlight) none() bool { return f.Load() == 0 }

// openQUIC returns what serves HTTP/3 on conn.
func (e *Edge) openQUIC(conn net.PacketConn, asked *inFlight) (*http3.Server, *quic.EarlyListener, func(), error) {
	active := caddy.ActiveContext()
	app, err := active.AppIfConfigured("http") // App would panic if Caddy had just been stopped
	if err != nil {
		return nil, nil, nil, fmt.Errorf("find Caddy's servers: %w", err)
	}
	web, ok := app.(*caddyhttp.App)
	if !ok || web.Servers[tlsServerName] == nil {
		return nil, nil, nil, errors.New("find Caddy's servers: there is none for HTTPS")
	}
	https := web.Servers[tlsServerName]
	limiter := rate.NewLimiter(unprovenHandshakes, unprovenHandshakes)
	transport := &quic.Transport{Conn: conn, VerifySourceAddress: func(net.Addr) bool { return !limiter.Allow() }}
	config := http3.ConfigureTLSConfig(https.TLSConnPolicies.TLSConfig(active))
	// Early data can be sent again by anybody who saw it, and Odoo doesn't know.
	listener, err := transport.ListenEarly(config, &quic.Config{InitialPacketSize: 1200, Allow0RTT: false})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("listen for QUIC: %w", err)
	}
	server := &http3.Server{
		Handler: asked.counted(https), TLSConfig: config,
		MaxHeaderBytes: https.MaxHeaderBytes,
		IdleTimeout:    time.Duration(https.IdleTimeout),
	}
	return server, listener, func() { _ = transport.Close() }, nil
}

// claimUDP binds the address for this process alone; it waits for another that has it.
func (e *Edge) claimUDP(ctx context.Context) (net.PacketConn, error) {
	look := time.NewTicker(quicLook)
	defer look.Stop()
	long := time.After(quicPatience)
	for {
		conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", e.tls.Listen)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return conn, err
		}
		select {
		case <-look.C:
		case <-long:
			e.log.WarnContext(ctx, "edge serves no HTTP/3 yet: another process keeps the UDP port, perhaps an edge that doesn't end", "listen", e.tls.Listen)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
