package alerts_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
)

func TestReport_AnAlertIsOpenWhileAnybodySeesIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report := func(reporter string, subjects ...string) {
		t.Helper()
		var seen []alerts.Alert
		for _, s := range subjects {
			seen = append(seen, alerts.Alert{Subject: s, Message: s + " as " + reporter + " sees it"})
		}
		require.NoError(t, alerts.Report(t.Context(), b.pool, reporter, "tenant.failing", seen))
	}
	open := func() map[string]int {
		counts := map[string]int{}
		for _, r := range b.list(alerts.Filter{Kind: "tenant.failing"}) {
			counts[r.Subject] = r.Count
		}
		return counts
	}
	b.raise("tenant.failing", "tenant/9", "of a time before reports")
	b.raise("host.full", "host", "of another kind")
	report("one", "tenant/1", "tenant/2")
	report("one", "tenant/1", "tenant/2")
	require.Equal(t, map[string]int{"tenant/1": 1, "tenant/2": 1}, open(), "what is repeated isn't news")
	report("two")
	report("two", "tenant/1")
	require.Equal(t, map[string]int{"tenant/1": 2, "tenant/2": 1}, open(), "that another sees nothing means nothing")
	report("one")
	require.Equal(t, map[string]int{"tenant/1": 2}, open())
	report("two")
	require.Empty(t, open())

	report("two", "tenant/1")
	_, err := b.pool.Exec(t.Context(), "UPDATE alert_reports SET reported_at = now() - interval '6 minutes'")
	require.NoError(t, err)
	report("one")
	require.Empty(t, open(), "whoever is silent sees nothing")
	report("two", "tenant/1")
	require.Len(t, open(), 1)
	require.Len(t, b.list(alerts.Filter{Kind: "host.full"}), 1)
}
