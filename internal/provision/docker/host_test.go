package docker

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

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
