package alerts_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
)

func TestOpenAlertsAreCountedByKind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.raise("certificate.expiring", "certificate/a.test", "It expires.")
	b.raise("certificate.expiring", "certificate/b.test", "It expires.")
	b.raise("host.full", "host", "It is full.")
	require.NoError(t, alerts.Resolve(t.Context(), b.pool, "host.full", "host"))
	registry := prometheus.NewRegistry()
	registry.MustRegister(b.Board)
	families, err := registry.Gather()
	require.NoError(t, err)
	require.Len(t, families, 2)
	for _, f := range families {
		require.Len(t, f.GetMetric(), 1, "what is resolved isn't told")
		require.Equal(t, "certificate.expiring", f.GetMetric()[0].GetLabel()[0].GetValue())
		if f.GetName() == "odoohost_alerts_open" {
			require.InDelta(t, 2, f.GetMetric()[0].GetGauge().GetValue(), 0)
		} else {
			require.Positive(t, f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	b.pool.Close()
	_, err = registry.Gather()
	require.ErrorContains(t, err, "count the open alerts")
}
