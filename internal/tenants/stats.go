package tenants

import (
	"fmt"
	"strconv"
	"time"
)

// Stats is what a tenant takes at this moment.
type Stats struct {
	State      State            `json:"state"`
	Containers []ContainerStats `json:"containers"` // none: nothing was made yet, or all is removed
	Disk       Disk             `json:"disk"`
}

// ContainerStats is how one container of a tenant is doing. All but the names and limits are zero while it doesn't run.
type ContainerStats struct {
	ID               string    `json:"id"` // the engine's, long
	Name             string    `json:"name"`
	Status           string    `json:"status"` // "running", "exited" and so on, as the engine says
	SampledAt        time.Time `json:"sampled_at"`
	CPUPercent       float64   `json:"cpu_percent"` // of one core
	CPULimitMilli    int       `json:"cpu_limit_milli"`
	MemoryBytes      int64     `json:"memory_bytes"` // without the page cache that can be given back
	MemoryLimitBytes int64     `json:"memory_limit_bytes"`
	NetworkInBytes   int64     `json:"network_in_bytes"` // since the container's start, like the three below
	NetworkOutBytes  int64     `json:"network_out_bytes"`
	BlockReadBytes   int64     `json:"block_read_bytes"`
	BlockWriteBytes  int64     `json:"block_write_bytes"`
	PIDs             int       `json:"pids"`
	PIDsLimit        int       `json:"pids_limit"`
}

// MemoryPercent is of the limit.
func (c ContainerStats) MemoryPercent() float64 {
	if c.MemoryLimitBytes <= 0 {
		return 0
	}
	return float64(c.MemoryBytes) / float64(c.MemoryLimitBytes) * 100
}

// ContainerTexts is ContainerStats as "docker stats" prints them, which is what old front ends show.
type ContainerTexts struct {
	CPUPercent    string // "0.53%"
	MemoryUsage   string // "182.4MiB / 2GiB"
	MemoryPercent string // "8.91%"
	NetworkIO     string // "1.45kB / 656B"
	BlockIO       string // "12.3MB / 0B"
	PIDs          string // "17"
}

// Texts formats c.
func (c ContainerStats) Texts() ContainerTexts {
	return ContainerTexts{
		CPUPercent:    fmt.Sprintf("%.2f%%", c.CPUPercent),
		MemoryUsage:   binarySize(c.MemoryBytes) + " / " + binarySize(c.MemoryLimitBytes),
		MemoryPercent: fmt.Sprintf("%.2f%%", c.MemoryPercent()),
		NetworkIO:     decimalSize(c.NetworkInBytes) + " / " + decimalSize(c.NetworkOutBytes),
		BlockIO:       decimalSize(c.BlockReadBytes) + " / " + decimalSize(c.BlockWriteBytes),
		PIDs:          strconv.Itoa(c.PIDs),
	}
}

func binarySize(n int64) string {
	return size(n, 1024, "%.4g%s", []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"})
}

func decimalSize(n int64) string {
	return size(n, 1000, "%.3g%s", []string{"B", "kB", "MB", "GB", "TB", "PB", "EB"})
}

func size(n int64, base float64, format string, units []string) string {
	value, unit := float64(max(n, 0)), 0
	for value >= base && unit < len(units)-1 {
		value /= base
		unit++
	}
	return fmt.Sprintf(format, value, units[unit])
}

// LogQuery says which lines of a tenant's log are wanted.
type LogQuery struct {
	Tail   int  // the last lines; 0: 100, at most 5000
	Follow bool // and then what comes, until the caller goes or the container ends
}

// Bounds of a LogQuery.
const (
	DefaultLogTail = 100
	MaxLogTail     = 5000
)

// LogLine is one line of a tenant's log, with secrets struck out.
type LogLine struct {
	At     time.Time `json:"at"`
	Stream string    `json:"stream"` // "stdout" or "stderr"; Odoo logs to the latter
	Text   string    `json:"text"`   // without the line's end; a very long line is cut
}
