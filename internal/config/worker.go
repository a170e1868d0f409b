package config

import "time"

// Worker is how processes that have only the api role ask one that has the worker role what runs.
type Worker struct {
	Listen string `env:"WORKER_LISTEN" validate:"omitempty,hostname_port|startswith=:"` // of a worker; default: it answers nobody
	URL    string `env:"WORKER_URL" validate:"omitempty,http_url"`                      // of a worker, for an API without one in its process
}

// Capacity bounds what is sold and what clients keep on disk.
type Capacity struct {
	MemoryOvercommit      float64 `env:"CAPACITY_MEMORY_OVERCOMMIT" envDefault:"3" validate:"min=1,max=1000"`
	CPUOvercommit         float64 `env:"CAPACITY_CPU_OVERCOMMIT" envDefault:"16" validate:"min=1,max=1000"`
	DiskOvercommit        float64 `env:"CAPACITY_DISK_OVERCOMMIT" envDefault:"4" validate:"min=1,max=1000"`
	ConnectionsOvercommit float64 `env:"CAPACITY_CONNECTIONS_OVERCOMMIT" envDefault:"3" validate:"min=1,max=1000"`
	MaxUsedPercent        float64 `env:"CAPACITY_MAX_USED_PERCENT" envDefault:"90" validate:"min=10,max=100"`
	QuotaGraceDays        int     `env:"DISK_QUOTA_GRACE_DAYS" envDefault:"14" validate:"min=1,max=365"`
	QuotaOverPercent      int     `env:"DISK_QUOTA_OVER_PERCENT" envDefault:"120" validate:"min=100,max=1000"`
}

// QuotaGrace returns how long a client may have more than QuotaOverPercent of its plan's disk.
func (c Capacity) QuotaGrace() time.Duration { return time.Duration(c.QuotaGraceDays) * 24 * time.Hour }
