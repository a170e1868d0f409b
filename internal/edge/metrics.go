package edge

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"controlplane/internal/metrics"
	"controlplane/internal/tenants"
)

const (
	apiLabel    = "(api)"
	nobodyLabel = "(none)"
)

var (
	descRequests = describe("requests_total", "Requests answered, by the status' first digit; 0 where the client went before.", "tenant", "class") //nolint:gochecknoglobals // a constant
	descDuration = describe("request_duration_seconds", "How long requests took, WebSockets left out.", "tenant")                                  //nolint:gochecknoglobals // a constant
	descOpen     = describe("open_requests", "Requests and WebSockets at this moment.", "tenant")                                                  //nolint:gochecknoglobals // a constant
	descLimited  = describe("limited_total", "Requests refused, by what limited them.", "tenant", "limit")                                         //nolint:gochecknoglobals // a constant
	descBytes    = describe("body_bytes_total", "Bytes of bodies.", "tenant", "direction")                                                         //nolint:gochecknoglobals // a constant
	descHealthy  = describe("tenant_healthy", "0 when at least half of the last minute's answers were 5xx.", "tenant")                             //nolint:gochecknoglobals // a constant
	descRoutes   = describe("routes", "Routes in the table.")                                                                                      //nolint:gochecknoglobals // a constant
	descFeed     = describe("feed_connected", "1 when changes of routes are coming in.")                                                           //nolint:gochecknoglobals // a constant
	descSynced   = describe("synced_timestamp_seconds", "When the table was last read as a whole.")                                                //nolint:gochecknoglobals // a constant
	descDropped  = describe("access_log_dropped_total", "Lines that the access log had no time for.")                                              //nolint:gochecknoglobals // a constant
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("odoohost_edge_"+name, help, labels, nil)
}

// collector tells an edge's numbers when they are asked for.
type collector Edge

// Describe sends nothing: which tenants there are isn't known beforehand.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends everything.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	status := c.table.status()
	out <- gauge(descRoutes, float64(status.Routes))
	out <- gauge(descFeed, oneIf(status.Connected))
	if !status.SyncedAt.IsZero() {
		out <- gauge(descSynced, float64(status.SyncedAt.UnixMilli())/1000)
	}
	out <- counter(descDropped, c.access.dropped.Load())
	names := map[tenants.ID]string{}
	for _, r := range c.table.all() {
		names[r.TenantID] = r.Name
	}
	for id, t := range c.traffic.each {
		if name, ok := names[id]; ok {
			t.collect(out, name)
			out <- gauge(descHealthy, oneIf(!t.health.bad.Load()), name)
		}
	}
	c.tls.collect(out)
	c.traffic.api.collect(out, apiLabel)
	c.traffic.nobody.collect(out, nobodyLabel)
}

func (t *traffic) collect(out chan<- prometheus.Metric, name string) {
	for class := range t.classes {
		if n := t.classes[class].Load(); n > 0 {
			out <- counter(descRequests, n, name, strconv.Itoa(class))
		}
	}
	buckets, total := map[float64]uint64{}, uint64(0)
	for i, bound := range latencyBounds {
		total += t.buckets[i].Load()
		buckets[bound.Seconds()] = total
	}
	total += t.buckets[len(latencyBounds)].Load()
	out <- prometheus.MustNewConstHistogram(descDuration, total, float64(t.micros.Load())/1e6, buckets, name)
	out <- gauge(descOpen, float64(t.open.Load()), name)
	out <- counter(descLimited, t.limited.Load(), name, "rate")
	out <- counter(descLimited, t.full.Load(), name, "connections")
	out <- counter(descBytes, t.received.Load(), name, "in")
	out <- counter(descBytes, t.sent.Load(), name, "out")
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func counter(d *prometheus.Desc, v uint64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// serveMetrics tells metrics at /metrics and, at /health, whether this edge can serve, on an address for operators alone. The answer of
// /health is 503 until there is a table and connections are taken; the rest of it says what works less well. It ends with ctx.
func (e *Edge) serveMetrics(ctx context.Context) {
	if e.opts.MetricsListen != "" {
		metrics.Server{Listen: e.opts.MetricsListen, Registry: e.registry, Health: e.serveHealth, Log: e.log}.Run(ctx)
	}
}

func (e *Edge) serveHealth(w http.ResponseWriter, _ *http.Request) {
	s := e.Status()
	w.Header().Set("Content-Type", "application/json")
	if !s.Loaded || !s.Listening {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{ // whoever asked may be gone
		"loaded": s.Loaded, "listening": s.Listening, "connected": s.Connected, "synced_at": s.SyncedAt, "as_of": s.AsOf, "routes": s.Routes,
	})
}
