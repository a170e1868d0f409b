package docker

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

func TestStats_OfARunningContainer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "eat", "20")
	c.Command = []string{"serve", "tcp/:8069"}
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

func TestReadCgroup(t *testing.T) {
	t.Parallel()
	const id = "0123456789abcdef"
	file := func(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
	netDev := file("Inter-|   Receive\n face |bytes\n    lo: 99 0 0 0 0 0 0 0 99 0\n  eth0: 11 1 0 0 0 0 0 0 22 1 0 0 0 0 0 0\n")
	v1 := fstest.MapFS{
		"proc/7/cgroup":  file("12:net_cls:/\n4:memory:/docker/" + id + "\n2:cpu,cpuacct:/docker/" + id + "\n3:pids:/docker/" + id + "\n1:blkio:/docker/" + id + "\n0::/docker/" + id + "\n"),
		"proc/7/net/dev": netDev,
		"sys/fs/cgroup/memory/docker/" + id + "/memory.usage_in_bytes":                    file("100\n"),
		"sys/fs/cgroup/memory/docker/" + id + "/memory.stat":                              file("inactive_file 1\ntotal_inactive_file 30\n"),
		"sys/fs/cgroup/cpuacct/docker/" + id + "/cpuacct.usage":                           file("1000000000\n"),
		"sys/fs/cgroup/pids/docker/" + id + "/pids.current":                               file("9\n"),
		"sys/fs/cgroup/blkio/docker/" + id + "/blkio.throttle.io_service_bytes_recursive": file("8:0 Read 5\n8:0 Write 7\n8:0 Total 12\nTotal 12\n"),
	}
	v2 := fstest.MapFS{
		"proc/7/cgroup":  file("0::/system.slice/docker-" + id + ".scope\n"),
		"proc/7/net/dev": netDev,
		"sys/fs/cgroup/system.slice/docker-" + id + ".scope/memory.current": file("100\n"),
		"sys/fs/cgroup/system.slice/docker-" + id + ".scope/memory.stat":    file("anon 1\ninactive_file 30\n"),
		"sys/fs/cgroup/system.slice/docker-" + id + ".scope/cpu.stat":       file("usage_usec 1000000\nuser_usec 1\n"),
		"sys/fs/cgroup/system.slice/docker-" + id + ".scope/pids.current":   file("9\n"),
		"sys/fs/cgroup/system.slice/docker-" + id + ".scope/io.stat":        file("8:0 rbytes=2 wbytes=7 rios=1\n8:16 rbytes=3\n"),
	}
	for name, root := range map[string]fstest.MapFS{"version 1": v1, "version 2": v2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, ok := readCgroup(root, 7, id)
			require.True(t, ok)
			require.WithinDuration(t, time.Now(), c.at, time.Minute)
			c.at = time.Time{}
			require.Equal(t, counters{cpu: time.Second, memory: 70, pids: 9, received: 11, sent: 22, read: 5, written: 7}, c)
			for what, ok := range map[string]bool{
				"another process":        second(readCgroup(root, 8, id)),
				"another container's":    second(readCgroup(root, 7, "fedcba9876543210")),
				"no container at all":    second(readCgroup(root, 7, "")),
				"a hidden control group": second(readCgroup(fstest.MapFS{"proc/7/cgroup": root["proc/7/cgroup"]}, 7, id)),
			} {
				require.False(t, ok, what)
			}
		})
	}
}

func second[A, B any](_ A, b B) B { return b }

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

func TestHost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	host, err := b.Host(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, host.EngineID)
	require.NotEmpty(t, host.Name)
	require.NotEmpty(t, host.EngineVersion)
	require.Positive(t, host.Cores)
	require.Positive(t, host.MemoryBytes)
	require.GreaterOrEqual(t, host.CPUPercent, 0.0)
	require.LessOrEqual(t, host.CPUPercent, 100.0)
	require.LessOrEqual(t, host.MemoryUsedBytes, host.MemoryBytes)
	require.LessOrEqual(t, host.DiskUsedBytes, host.DiskBytes)
	t.Logf("%+v", host)
}

func TestParseProc(t *testing.T) {
	t.Parallel()
	total, available := parseMemory([]byte("MemTotal:       24680000 kB\nMemFree:         1000 kB\nMemAvailable:   12340000 kB\nodd\n"))
	require.Equal(t, int64(24680000)<<10, total)
	require.Equal(t, int64(12340000)<<10, available)
	all, idle := parseCPU([]byte("cpu  10 1 5 80 4 0 0 0 3 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n"))
	require.Equal(t, int64(100), all)
	require.Equal(t, int64(84), idle)
	for _, odd := range []string{"", "cpu\n", "intr 1 2 3 4 5 6 7 8 9 10\n"} {
		all, idle = parseCPU([]byte(odd))
		require.Zero(t, all+idle)
	}
	total, used := diskOf("/nowhere/at/all")
	require.Zero(t, total+used)
}

func TestLogs_LastLinesOfBothStreams(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "print", "30", "0")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	within(t, 10*time.Second, "it ends", func() bool { return !b.inspect(t, c.Name).State.Running })
	var lines []provision.LogLine
	collect := func(l provision.LogLine) error {
		lines = append(lines, l)
		return nil
	}
	require.NoError(t, b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 3}, collect))
	require.Len(t, lines, 3)
	require.Equal(t, "line 28", lines[0].Text)
	require.Equal(t, "line 30", lines[2].Text)
	require.Equal(t, "stdout", lines[0].Stream)
	require.WithinDuration(t, time.Now(), lines[0].At, time.Minute)

	boom := errors.New("boom")
	require.ErrorIs(t, b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 3}, func(provision.LogLine) error { return boom }), boom)

	failing := b.container("failing", "no-such-command")
	require.NoError(t, b.EnsureContainer(t.Context(), failing))
	require.NoError(t, b.StartContainer(t.Context(), failing.Name))
	within(t, 10*time.Second, "it ends", func() bool { return !b.inspect(t, failing.Name).State.Running })
	lines = nil
	require.NoError(t, b.ContainerLogs(t.Context(), failing.Name, provision.LogQuery{Tail: 3}, collect))
	require.Len(t, lines, 1)
	require.Equal(t, "stderr", lines[0].Stream)

	lines = nil
	require.NoError(t, b.ContainerLogs(t.Context(), b.name("nobody"), provision.LogQuery{Tail: 3}, collect))
	require.Empty(t, lines)
}

func TestLogs_Follow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.container("odoo", "print", "2", "0", "700")
	require.NoError(t, b.EnsureContainer(t.Context(), c))
	require.NoError(t, b.StartContainer(t.Context(), c.Name))
	var texts []string
	err := b.ContainerLogs(t.Context(), c.Name, provision.LogQuery{Tail: 10, Follow: true}, func(l provision.LogLine) error {
		texts = append(texts, l.Text)
		return nil
	})
	require.NoError(t, err, "it ends with the container")
	require.Equal(t, []string{"line 1", "line 2"}, texts)

	serving := b.container("serving", "serve")
	require.NoError(t, b.EnsureContainer(t.Context(), serving))
	require.NoError(t, b.StartContainer(t.Context(), serving.Name))
	ctx, cancel := context.WithCancel(t.Context())
	err = b.ContainerLogs(ctx, serving.Name, provision.LogQuery{Tail: 10, Follow: true}, func(provision.LogLine) error {
		cancel()
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
}

func TestLineWriter(t *testing.T) {
	t.Parallel()
	const stamp = "2026-03-01T12:00:00.000000001Z "
	long := strings.Repeat("x", 3*maxLineBytes)
	tests := map[string]struct {
		writes []string
		want   []string
	}{
		"one line in two writes": {[]string{stamp + "he", "llo\n"}, []string{"hello"}},
		"two lines in one write": {[]string{stamp + "a\n" + stamp + "b\n"}, []string{"a", "b"}},
		"no end":                 {[]string{stamp + "a"}, []string{"a"}},
		"carriage return":        {[]string{stamp + "a\r\n"}, []string{"a"}},
		"empty line":             {[]string{stamp + "\n"}, []string{""}},
		"broken text":            {[]string{stamp + "a\xff\n"}, []string{"a�"}},
		"no time":                {[]string{"hello world\n"}, []string{"hello world"}},
		"endless":                {[]string{stamp + long, long, "\n" + stamp + "b\n"}, []string{long[:maxLineBytes-len(stamp)], "b"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			w := lineWriter{stream: "stderr", line: func(l provision.LogLine) error {
				got = append(got, l.Text)
				return nil
			}}
			for _, text := range tt.writes {
				n, err := w.Write([]byte(text))
				require.NoError(t, err)
				require.Equal(t, len(text), n)
			}
			require.LessOrEqual(t, w.rest.Cap(), 4*maxLineBytes)
			require.NoError(t, w.flush())
			require.Equal(t, tt.want, got)
			require.NotContains(t, bytes.NewBufferString(strings.Join(got, "")).String(), "\n")
		})
	}
}
