package metrics_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"controlplane/internal/metrics"
)

// half tells one number, and fails at another.
type half struct{}

func (half) Describe(chan<- *prometheus.Desc) {}

func (half) Collect(out chan<- prometheus.Metric) {
	desc := prometheus.NewDesc("odoohost_test_number", "A number.", nil, nil)
	out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 7)
	out <- prometheus.NewInvalidMetric(desc, errors.New("the database is down"))
}

func TestNumbersAreToldUntilTheEnd(t *testing.T) {
	t.Parallel()
	before, err := net.Listen("tcp", "127.0.0.1:0") // the process that this one takes over from
	require.NoError(t, err)
	address := before.Addr().String()
	registry := metrics.NewRegistry()
	registry.MustRegister(half{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		metrics.Server{Listen: address, Registry: registry, Log: slog.New(slog.DiscardHandler)}.Run(ctx)
	}()
	require.NoError(t, before.Close())
	var text string
	require.Eventually(t, func() bool {
		text, err = get(t, "http://"+address+"/metrics")
		return err == nil
	}, 30*time.Second, 20*time.Millisecond)
	require.Contains(t, text, "odoohost_test_number 7", "what can be told is told, whatever else fails")
	require.Contains(t, text, "go_goroutines")
	require.Contains(t, text, "process_open_fds")
	text, err = get(t, "http://"+address+"/health")
	require.NoError(t, err)
	require.Contains(t, text, "404")
	cancel()
	<-ended
	_, err = get(t, "http://"+address+"/metrics")
	require.Error(t, err)
}

func get(t *testing.T, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}
