package docker

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/moby/client"

	"controlplane/internal/provision"
)

// Host asks the engine, and the kernel when we are on the engine's machine; see provision.Meter.
func (r *Runtime) Host(ctx context.Context) (provision.Host, error) {
	var host provision.Host
	err := r.call(ctx, quickCall, "look at the engine's host", func(ctx context.Context) error {
		res, err := r.api.Info(ctx, client.InfoOptions{})
		if err != nil {
			return err
		}
		info := res.Info
		host = provision.Host{
			EngineID: info.ID, Name: info.Name, EngineVersion: info.ServerVersion, Cores: info.NCPU, MemoryBytes: info.MemTotal,
			ContainersRunning: info.ContainersRunning,
		}
		memory, free := parseMemory(readProc("/proc/meminfo"))
		if memory == 0 || memory != info.MemTotal {
			return nil // it is another machine's engine
		}
		host.MemoryUsedBytes = memory - free
		host.DiskBytes, host.DiskUsedBytes = diskOf(info.DockerRootDir)
		host.CPUPercent, err = cpuPercent(ctx)
		return err
	})
	return host, err
}

// FreeBytes returns how much more the file system can hold that volumes are on, as far as others than root may fill it, and false when it
// isn't visible from here: the engine is another machine's, or we are in a container.
func (r *Runtime) FreeBytes(ctx context.Context) (free int64, known bool, err error) {
	err = r.call(ctx, quickCall, "look at the engine's host", func(ctx context.Context) error {
		res, err := r.api.Info(ctx, client.InfoOptions{})
		if err != nil {
			return err
		}
		if memory, _ := parseMemory(readProc("/proc/meminfo")); memory == 0 || memory != res.Info.MemTotal {
			return nil
		}
		total, used := diskOf(res.Info.DockerRootDir)
		free, known = total-used, total > 0
		return nil
	})
	return free, known, err
}

// cores returns how many the engine's host has, asking once.
func (r *Runtime) cores(ctx context.Context) (int, error) {
	r.mu.Lock()
	known := r.ncpu
	r.mu.Unlock()
	if known > 0 {
		return known, nil
	}
	err := r.call(ctx, quickCall, "count the cores of the engine's host", func(ctx context.Context) error {
		res, err := r.api.Info(ctx, client.InfoOptions{})
		known = res.Info.NCPU
		return err
	})
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ncpu = max(known, 1)
	return r.ncpu, nil
}

// readProc returns nothing for a file that can't be read: where there is no /proc we don't know.
func readProc(path string) []byte {
	content, err := os.ReadFile(path) //nolint:gosec // constants
	if err != nil {
		return nil
	}
	return content
}

// parseMemory returns the bytes of all memory and of what a new process could have.
func parseMemory(meminfo []byte) (total, available int64) {
	for line := range strings.Lines(string(meminfo)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
		switch fields[0] {
		case "MemTotal:":
			total = kilobytes << 10
		case "MemAvailable:":
			available = kilobytes << 10
		}
	}
	return total, available
}

// diskOf returns how much the file system can hold for its users and how much they have; zeros when it isn't visible from here.
func diskOf(path string) (total, used int64) {
	var fs syscall.Statfs_t
	if path == "" || syscall.Statfs(path, &fs) != nil {
		return 0, 0
	}
	used = int64(fs.Blocks-fs.Bfree) * fs.Bsize   //nolint:gosec // bytes
	return used + int64(fs.Bavail)*fs.Bsize, used //nolint:gosec // bytes
}

// cpuPercent is the load of all cores over cpuWindow.
func cpuPercent(ctx context.Context) (float64, error) {
	before, idleBefore := parseCPU(readProc("/proc/stat"))
	if err := pause(ctx, cpuWindow); err != nil {
		return 0, err
	}
	after, idleAfter := parseCPU(readProc("/proc/stat"))
	if after <= before {
		return 0, nil
	}
	busy := (after - before) - (idleAfter - idleBefore)
	return max(float64(busy)/float64(after-before)*100, 0), nil
}

// parseCPU returns the ticks of all cores, and of those the ones with nothing to do.
func parseCPU(stat []byte) (total, idle int64) {
	scanner := bufio.NewScanner(bytes.NewReader(stat))
	if !scanner.Scan() {
		return 0, 0
	}
	fields := strings.Fields(scanner.Text())
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0
	}
	for i, field := range fields[1:9] { // what guests take is in user time already
		ticks, _ := strconv.ParseInt(field, 10, 64)
		total += ticks
		if i == 3 || i == 4 { // idle, waiting for I/O
			idle += ticks
		}
	}
	return total, idle
}
