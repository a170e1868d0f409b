// Package metrics tells a process's numbers to Prometheus, on an address for operators alone. What there is to tell is registered by whoever
// wires the process: a package that has numbers offers a prometheus.Collector, which reads them when it is asked.
package metrics

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	timeout     = 30 * time.Second
	listenRetry = 200 * time.Millisecond
	atOnce      = 4 // who asks for more than this waits for nobody: 503
)

// Server tells the numbers at /metrics.
type Server struct {
	Listen   string // host:port
	Registry *prometheus.Registry
	Health   http.HandlerFunc // at /health; nil: nothing is there
	Log      *slog.Logger
}

// NewRegistry returns one that knows what each process has to tell: its memory, its files, its collector.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Run serves until ctx ends. A process that can't be watched works all the same: what goes wrong is only logged.
func (s Server) Run(ctx context.Context) {
	l := s.listen(ctx)
	if l == nil {
		return
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelWarn), MaxRequestsInFlight: atOnce,
	}))
	if s.Health != nil {
		mux.HandleFunc("GET /health", s.Health)
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: timeout, WriteTimeout: timeout, IdleTimeout: timeout}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		s.Log.WarnContext(ctx, "metrics aren't told any longer", "error", err)
	}
}

// listen waits for the address: the process that this one takes over from has it until its end. It returns nil when ctx ends first.
func (s Server) listen(ctx context.Context) net.Listener {
	var lc net.ListenConfig
	for told := false; ctx.Err() == nil; {
		l, err := lc.Listen(ctx, "tcp", s.Listen)
		if err == nil {
			return l
		}
		if !told && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "metrics can't be told yet", "listen", s.Listen, "error", err)
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenRetry):
		}
	}
	return nil
}
