package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Time-outs of the server. Writing may take as long as the slowest route and a slow reader.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10
	shutdownGrace     = 20 * time.Second
)

// draining is closed when the server takes no more requests, for those that would never end by themselves; nil: it can't be known.
func draining(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(drainKey).(<-chan struct{})
	return c
}

// Serve listens on address and serves handler until ctx ends; then it takes no more requests, finishes those that are running and
// returns nil. Ready, if not nil, is called once with the address that it listens on.
func Serve(ctx context.Context, address string, handler http.Handler, log *slog.Logger, ready func(net.Addr)) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%s is in use by another program (API_LISTEN)", address)
	}
	if err != nil {
		return fmt.Errorf("listen on %s (API_LISTEN): %w", address, err)
	}
	srv := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.WithoutCancel(ctx), drainKey, ctx.Done())
		},
	}
	if ready != nil {
		ready(listener.Addr())
	}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(listener) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		return fmt.Errorf("stop the API: %w", err)
	}
	return nil
}
