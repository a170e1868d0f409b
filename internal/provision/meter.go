package provision

import (
	"context"

	"controlplane/internal/tenants"
)

// ContainerStats is how one container is doing; it is the API's type under the name that adapters know.
type ContainerStats = tenants.ContainerStats

// LogQuery says which lines; likewise.
type LogQuery = tenants.LogQuery

// LogLine is one line as the container wrote it; likewise.
type LogLine = tenants.LogLine

// Meter is what the container engine tells about what runs on it. Nothing here changes anything.
type Meter interface {
	// ContainerStats takes about half a second for a running container. It reports false when there is none of ours.
	ContainerStats(ctx context.Context, name string) (stats ContainerStats, found bool, err error)
	// ContainerLogs calls line for each line, oldest first, and ends with its first error. No container of ours is no lines.
	ContainerLogs(ctx context.Context, name string, q LogQuery, line func(LogLine) error) error
	// Host tells about the machine that the engine runs on.
	Host(ctx context.Context) (Host, error)
	// VolumeSizes returns the bytes in each volume of ours. The engine walks through all of them: ask once in a while.
	VolumeSizes(ctx context.Context) (map[string]int64, error)
}

// Host is a machine that tenants run on. What only the machine itself can tell is zero when we aren't on it.
type Host struct {
	EngineID          string
	Name              string
	EngineVersion     string
	Cores             int
	CPUPercent        float64 // of all cores
	MemoryBytes       int64
	MemoryUsedBytes   int64 // without caches; zero: unknown
	DiskBytes         int64 // of what the engine's data is on, without what is reserved for root; zero: unknown
	DiskUsedBytes     int64
	ContainersRunning int // anybody's
}

// DatabaseMeter is what the tenants' database server tells about itself.
type DatabaseMeter interface {
	// DatabaseSize returns the bytes of a database; one that isn't there has none.
	DatabaseSize(ctx context.Context, name string) (int64, error)
	Load(ctx context.Context) (DatabaseLoad, error)
}

// DatabaseLoad is how much of the server is used.
type DatabaseLoad struct {
	MaxConnections int // less what is reserved for superusers
	Connections    int // of everybody, now
}
