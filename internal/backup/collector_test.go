package backup_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
)

func TestCollect(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	p := o.planner(backup.PlannerOptions{})
	require.Empty(t, gather(t, p))
	acme, globex := o.client("acme", "basic"), o.client("globex", "basic")
	first := o.take(acme, backup.Daily)
	o.done()
	_, err := o.backups.Prove(t.Context(), first.ID, "system")
	require.NoError(t, err)
	o.tried(backup.ProofProven)
	o.now = o.now.Add(time.Hour)
	o.take(globex, backup.Daily)
	o.done()
	o.take(globex, backup.Manual)
	o.failed()
	told := gather(t, p)
	require.Subset(t, told, []string{
		"odoohost_backup_oldest_taken_timestamp_seconds 1772452800", "odoohost_backup_oldest_proven_timestamp_seconds 0",
		"odoohost_backup_taken_timestamp_seconds globex 1772456400", "odoohost_backup_verified_timestamp_seconds acme 1772452800",
		"odoohost_backup_proven_timestamp_seconds acme 1772452800", "odoohost_backup_proven_timestamp_seconds globex 0",
		"odoohost_backup_stored_bytes acme 1048576", "odoohost_backup_all_stored_bytes 2097152",
		"odoohost_backup_lately daily done 2", "odoohost_backup_lately manual failed 1", "odoohost_backup_duration_seconds daily 0",
		"odoohost_backup_proofs_lately proven 1",
	})
	o.pool.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(p)
	_, err = registry.Gather()
	require.ErrorContains(t, err, "read what is known of backups")
}

// gather returns each number with its labels' values.
func gather(t *testing.T, c prometheus.Collector) (told []string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			text := f.GetName()
			for _, l := range m.GetLabel() {
				text += " " + l.GetValue()
			}
			told = append(told, fmt.Sprintf("%s %.0f", text, m.GetGauge().GetValue()))
		}
	}
	return told
}
