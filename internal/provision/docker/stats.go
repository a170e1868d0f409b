package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

var _ provision.Meter = (*Runtime)(nil)

// cpuWindow is what the CPU's load is averaged over. The engine's own way waits for a second and more.
const cpuWindow = 400 * time.Millisecond

// counters are what is counted about a container since its start, and how it is at one moment.
type counters struct {
	at             time.Time
	cpu            time.Duration
	memory         int64 // without the page cache that the kernel would give back first, as "docker stats" has it
	pids           int
	received, sent int64
	read, written  int64
}

// ContainerStats reads the container's counters twice; see provision.Meter.
func (r *Runtime) ContainerStats(ctx context.Context, name string) (stats provision.ContainerStats, found bool, err error) {
	err = r.call(ctx, quickCall, "read the stats of container "+name, func(ctx context.Context) error {
		c, err := r.findContainer(ctx, name)
		if err != nil || c == nil {
			return err
		}
		found = true
		stats = limitsOf(c)
		if !c.State.Running {
			return nil
		}
		before, err := r.sample(ctx, c)
		if err == nil {
			err = pause(ctx, cpuWindow)
		}
		if err != nil {
			return ignoreNotFound(err)
		}
		after, err := r.sample(ctx, c)
		if err != nil {
			return ignoreNotFound(err) // removed meanwhile
		}
		addUsage(&stats, before, after)
		return nil
	})
	return stats, found, err
}

func limitsOf(c *container.InspectResponse) provision.ContainerStats {
	stats := provision.ContainerStats{
		ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), Status: string(c.State.Status), SampledAt: time.Now().UTC(),
		CPULimitMilli: int(c.HostConfig.NanoCPUs / 1e6), MemoryLimitBytes: c.HostConfig.Memory,
	}
	if c.HostConfig.PidsLimit != nil {
		stats.PIDsLimit = int(*c.HostConfig.PidsLimit)
	}
	return stats
}

// sample asks the kernel if it can, and the engine otherwise.
func (r *Runtime) sample(ctx context.Context, c *container.InspectResponse) (counters, error) {
	if sample, ok := readCgroup(os.DirFS("/"), c.State.Pid, c.ID); ok {
		return sample, nil
	}
	res, err := r.api.ContainerStats(ctx, c.ID, client.ContainerStatsOptions{})
	if err != nil {
		return counters{}, err
	}
	defer func() { _ = res.Body.Close() }()
	var raw container.StatsResponse
	if err := json.NewDecoder(res.Body).Decode(&raw); err != nil {
		return counters{}, fmt.Errorf("decode its stats: %w", err)
	}
	return countersOf(raw), nil
}

// countersOf reads the engine's answer. About a container that has just ended it is all zeros.
func countersOf(raw container.StatsResponse) counters {
	cache, v1 := raw.MemoryStats.Stats["total_inactive_file"] // cgroup v1
	if !v1 {
		cache = raw.MemoryStats.Stats["inactive_file"]
	}
	c := counters{
		at:     raw.Read,
		cpu:    time.Duration(raw.CPUStats.CPUUsage.TotalUsage),          //nolint:gosec // nanoseconds of some years
		memory: withoutCache(int64(raw.MemoryStats.Usage), int64(cache)), //nolint:gosec // bytes
		pids:   int(raw.PidsStats.Current),                               //nolint:gosec // thousands at most
	}
	for _, n := range raw.Networks {
		c.received += int64(n.RxBytes) //nolint:gosec // bytes
		c.sent += int64(n.TxBytes)     //nolint:gosec // bytes
	}
	for _, entry := range raw.BlkioStats.IoServiceBytesRecursive {
		c.addBlock(entry.Op, int64(entry.Value)) //nolint:gosec // bytes
	}
	return c
}

func (c *counters) addBlock(op string, n int64) {
	switch strings.ToLower(op) {
	case "read":
		c.read += n
	case "write":
		c.written += n
	}
}

func withoutCache(usage, cache int64) int64 {
	if cache > usage {
		return usage
	}
	return usage - cache
}

// addUsage fills in what two samples tell.
func addUsage(stats *provision.ContainerStats, before, after counters) {
	if !after.at.IsZero() {
		stats.SampledAt = after.at.UTC()
	}
	used, wall := after.cpu-before.cpu, after.at.Sub(before.at)
	if used > 0 && wall > 0 {
		stats.CPUPercent = float64(used) / float64(wall) * 100
	}
	stats.MemoryBytes, stats.PIDs = after.memory, after.pids
	stats.NetworkInBytes, stats.NetworkOutBytes = after.received, after.sent
	stats.BlockReadBytes, stats.BlockWriteBytes = after.read, after.written
}

// VolumeSizes asks the engine how much is in its volumes. An engine does that for one caller at a time; others wait their turn.
func (r *Runtime) VolumeSizes(ctx context.Context) (map[string]int64, error) {
	sizes := map[string]int64{}
	err := r.call(ctx, slowCall, "measure the volumes", func(ctx context.Context) error {
		usage, err := r.diskUsage(ctx)
		for err != nil && strings.Contains(err.Error(), "disk usage operation is already running") {
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
			usage, err = r.diskUsage(ctx)
		}
		if err != nil {
			return err
		}
		for _, v := range usage.Volumes.Items {
			if v.Labels[LabelInstallation] == r.installation && v.UsageData != nil && v.UsageData.Size >= 0 {
				sizes[v.Name] = v.UsageData.Size
			}
		}
		return nil
	})
	return sizes, err
}

func (r *Runtime) diskUsage(ctx context.Context) (client.DiskUsageResult, error) {
	return r.api.DiskUsage(ctx, client.DiskUsageOptions{Volumes: true, Verbose: true})
}

// pause waits for d or until ctx ends, which is an error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
