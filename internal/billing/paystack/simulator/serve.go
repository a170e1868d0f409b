package simulator

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Serve serves the API with the checkout page on one listener and the admin API on the other (nil: none) until ctx ends, and closes
// the simulator.
func (s *Simulator) Serve(ctx context.Context, api, admin net.Listener) error {
	defer s.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serve(ctx, api, s.Handler()) })
	if admin != nil {
		g.Go(func() error { return serve(ctx, admin, s.AdminHandler()) })
	}
	return g.Wait()
}

func serve(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // a simulated time-out may be hanging on purpose
		}
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
