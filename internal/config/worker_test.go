package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

func TestLoad_WorkerAndCapacity(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(production(), all...)
	require.NoError(t, err)
	require.Equal(t, config.Worker{}, cfg.Worker, "nobody is answered unless it is asked for")
	require.Equal(t, config.Capacity{
		MemoryOvercommit: 3, CPUOvercommit: 16, DiskOvercommit: 4, ConnectionsOvercommit: 3, MaxUsedPercent: 90, QuotaGraceDays: 14, QuotaOverPercent: 120,
	}, cfg.Capacity)
	require.Equal(t, 14*24*time.Hour, cfg.Capacity.QuotaGrace())

	env := production()
	env["WORKER_LISTEN"], env["WORKER_URL"], env["CAPACITY_MEMORY_OVERCOMMIT"] = ":8002", "http://10.0.0.5:8002", "1.5"
	cfg, err = config.Load(env, all...)
	require.NoError(t, err)
	require.Equal(t, config.Worker{Listen: ":8002", URL: "http://10.0.0.5:8002"}, cfg.Worker)
	require.InDelta(t, 1.5, cfg.Capacity.MemoryOvercommit, 0)
}

func TestLoad_WorkerAndCapacityProblems(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ value, want string }{
		"WORKER_LISTEN":              {"8002", "WORKER_LISTEN is not valid"},
		"WORKER_URL":                 {"worker:8002", "WORKER_URL must be an http:// or https:// URL"},
		"CAPACITY_MEMORY_OVERCOMMIT": {"0.5", "CAPACITY_MEMORY_OVERCOMMIT must be at least 1"},
		"CAPACITY_DISK_OVERCOMMIT":   {"NaN", "CAPACITY_DISK_OVERCOMMIT must be at least 1"},
		"CAPACITY_MAX_USED_PERCENT":  {"101", "CAPACITY_MAX_USED_PERCENT must be at most 100"},
		"DISK_QUOTA_GRACE_DAYS":      {"0", "DISK_QUOTA_GRACE_DAYS must be at least 1"},
		"DISK_QUOTA_OVER_PERCENT":    {"99", "DISK_QUOTA_OVER_PERCENT must be at least 100"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := production()
			env[name] = tt.value
			_, err := config.Load(env, all...)
			require.ErrorContains(t, err, tt.want)
		})
	}
}
