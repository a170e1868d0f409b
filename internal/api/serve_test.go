package api_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

func serve(t *testing.T, address string, handler http.Handler) (at string, stop context.CancelFunc, done <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	ready, result := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		result <- api.Serve(ctx, address, handler, slog.New(slog.DiscardHandler), func(a net.Addr) { ready <- a })
	}()
	select {
	case a := <-ready:
		return a.String(), cancel, result
	case err := <-result:
		result <- err
		return "", cancel, result
	}
}

func TestServeFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}), make(chan struct{})
	at, stop, done := serve(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		w.WriteHeader(http.StatusTeapot)
	}))
	status := make(chan int, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at, nil)
		if err != nil {
			return
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			_ = res.Body.Close()
			status <- res.StatusCode
		}
	}()
	<-started
	stop()
	close(release)
	require.Equal(t, http.StatusTeapot, <-status)
	require.NoError(t, <-done)
}

func TestServePortInUse(t *testing.T) {
	t.Parallel()
	at, _, _ := serve(t, "127.0.0.1:0", http.NotFoundHandler())
	_, _, done := serve(t, at, http.NotFoundHandler())
	require.EqualError(t, <-done, at+" is in use by another program (API_LISTEN)")
}
