package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
)

const collectTimeout = 5 * time.Second

var (
	descOpen   = prometheus.NewDesc("odoohost_alerts_open", "Alerts that are open, by kind.", []string{"kind"}, nil)                                       //nolint:gochecknoglobals // a constant
	descOldest = prometheus.NewDesc("odoohost_alerts_oldest_timestamp_seconds", "When the oldest open alert of a kind was raised.", []string{"kind"}, nil) //nolint:gochecknoglobals // a constant
)

// Describe sends nothing: which kinds there are isn't known beforehand.
func (*Board) Describe(chan<- *prometheus.Desc) {}

// Collect tells how many alerts are open, for whatever wakes operators up. It tells no subjects: those are tenants.
func (b *Board) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	rows, err := b.pool.Query(ctx, "SELECT kind, count(*), min(raised_at) FROM alerts WHERE resolved_at IS NULL GROUP BY kind")
	if err == nil {
		var kind string
		var open int64
		var oldest time.Time
		_, err = pgx.ForEachRow(rows, []any{&kind, &open, &oldest}, func() error {
			out <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(open), kind)
			out <- prometheus.MustNewConstMetric(descOldest, prometheus.GaugeValue, float64(oldest.Unix()), kind)
			return nil
		})
	}
	if err != nil {
		out <- prometheus.NewInvalidMetric(descOpen, fmt.Errorf("count the open alerts: %w", err))
	}
}
