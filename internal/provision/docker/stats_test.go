package docker

import (
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

func TestStats_OfARunningContainer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "serve", "tcp/:8069")
	c.Network = b.network(t, 1).Name
	require.NoError(t, b.EnsureContainer(t.Context(), c))

	stopped, found, err := b.ContainerStats(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "created", stopped.Status)
	require.Zero(t, stopped.MemoryBytes)

	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	began := time.Now()
	stats, found, err := b.ContainerStats(t.Context(), c.Name)
	require.NoError(t, err)
	require.True(t, found)
	t.Logf("took %v", time.Since(began))
	require.Equal(t, "running", stats.Status)
	require.Equal(t, c.Name, stats.Name)
	require.Len(t, stats.ID, 64)
	require.Positive(t, stats.MemoryBytes)
	require.Equal(t, int64(64<<20), stats.MemoryLimitBytes)
	require.Equal(t, 500, stats.CPULimitMilli)
	require.Positive(t, stats.PIDs)
	require.Equal(t, 50, stats.PIDsLimit)
	require.GreaterOrEqual(t, stats.CPUPercent, 0.0)
	require.Less(t, stats.CPUPercent, 60.0, "the container is limited to half a core")
	require.WithinDuration(t, time.Now(), stats.SampledAt, 10*time.Second)
}

func TestStats_OfWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, found, err := b.ContainerStats(t.Context(), b.name("nobody"))
	require.NoError(t, err)
	require.False(t, found)

	other := setup(t)
	c := other.container("odoo", "serve")
	require.NoError(t, other.EnsureContainer(t.Context(), c))
	_, _, err = b.ContainerStats(t.Context(), c.Name)
	require.ErrorIs(t, err, provision.ErrForeign)
	require.ErrorIs(t, b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 1}, nil), provision.ErrForeign)
}

func TestAddUsage(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sample := func(used, after time.Duration) counters { return counters{at: at.Add(after), cpu: used} }
	tests := map[string]struct {
		before, after counters
		want          float64
	}{
		"one and a half cores": {sample(time.Second, 0), sample(1600*time.Millisecond, 400*time.Millisecond), 150},
		"idle":                 {sample(time.Second, 0), sample(time.Second, time.Second), 0},
		"restarted between":    {sample(time.Second, 0), sample(time.Millisecond, time.Second), 0},
		"ended between":        {sample(time.Second, 0), counters{}, 0},
		"no time between":      {sample(time.Second, 0), sample(2*time.Second, 0), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stats provision.ContainerStats
			addUsage(&stats, tt.before, tt.after)
			require.InDelta(t, tt.want, stats.CPUPercent, 0.001)
		})
	}
}

func TestCountersOf_TheEnginesAnswer(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	raw := container.StatsResponse{
		Read:        at,
		CPUStats:    container.CPUStats{CPUUsage: container.CPUUsage{TotalUsage: 1e9}},
		Networks:    map[string]container.NetworkStats{"eth0": {RxBytes: 1, TxBytes: 2}, "eth1": {RxBytes: 10, TxBytes: 20}},
		BlkioStats:  container.BlkioStats{IoServiceBytesRecursive: []container.BlkioStatEntry{{Op: "Read", Value: 5}, {Op: "write", Value: 7}, {Op: "Total", Value: 12}}},
		PidsStats:   container.PidsStats{Current: 9},
		MemoryStats: container.MemoryStats{Usage: 100, Stats: map[string]uint64{"total_inactive_file": 30, "inactive_file": 1}},
	}
	want := counters{at: at, cpu: time.Second, memory: 70, pids: 9, received: 11, sent: 22, read: 5, written: 7}
	require.Equal(t, want, countersOf(raw))
	raw.MemoryStats.Stats = map[string]uint64{"inactive_file": 1}
	require.Equal(t, int64(99), countersOf(raw).memory, "cgroup v2")
	raw.MemoryStats.Stats = map[string]uint64{"inactive_file": 101}
	require.Equal(t, int64(100), countersOf(raw).memory)
}

func TestVolumeSizes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "serve")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.PutFiles(t.Context(), c.Name, []provision.File{{Path: "/data/big", Mode: 0o600, Content: make([]byte, 3<<20)}}))
	sizes, err := b.VolumeSizes(t.Context())
	require.NoError(t, err)
	require.Len(t, sizes, 2, "nobody else's")
	require.InDelta(t, 3<<20, sizes[c.Name+"_data"], 64<<10)
	require.Less(t, sizes[c.Name+"_extra"], int64(64<<10))
}
