package tenants_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestDisk_IsStoredAndShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	acme := b.create(ada, "acme")
	found, err := b.Disk(t.Context(), acme.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Disk{}, found, "never measured")

	since := b.clock().Add(-time.Hour)
	for _, want := range []tenants.Disk{
		{DatabaseBytes: 10 << 20, FilestoreBytes: 1, MeasuredAt: b.clock(), ToldPercent: 80, OverSince: &since},
		{DatabaseBytes: 0, FilestoreBytes: 0, MeasuredAt: b.clock().Add(time.Hour)},
	} {
		require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.SetDiskTx(ctx, tx, acme.ID, want) }))
		found, err = b.Disk(t.Context(), acme.ID)
		require.NoError(t, err)
		require.Equal(t, want.TotalBytes(), found.TotalBytes())
		require.Equal(t, want.ToldPercent, found.ToldPercent)
		require.True(t, want.MeasuredAt.Equal(found.MeasuredAt))
		require.Equal(t, want.OverSince == nil, found.OverSince == nil)
		shown, err := b.Get(t.Context(), ada, "acme")
		require.NoError(t, err)
		require.Equal(t, want.TotalMB(), shown.DiskUsageMB)
	}
}

func TestDisk_RoundsUp(t *testing.T) {
	t.Parallel()
	require.Equal(t, 0, tenants.Disk{}.TotalMB())
	require.Equal(t, 1, tenants.Disk{FilestoreBytes: 1}.TotalMB())
	require.Equal(t, 1, tenants.Disk{FilestoreBytes: 1 << 20}.TotalMB())
	require.Equal(t, 2, tenants.Disk{FilestoreBytes: 1 << 20, DatabaseBytes: 1}.TotalMB())
}

func TestOnDisk_LeavesOutWhatHasNothingYet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	b.create(ada, "unpaid")
	b.pay(b.create(ada, "paid").ID)
	b.activate(b.create(ada, "active").ID)
	list, err := b.OnDisk(t.Context())
	require.NoError(t, err)
	require.Equal(t, "active", names(list))
}

func TestContainerStats_Texts(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		stats tenants.ContainerStats
		want  tenants.ContainerTexts
	}{
		"idle": {tenants.ContainerStats{}, tenants.ContainerTexts{
			CPUPercent: "0.00%", MemoryUsage: "0B / 0B", MemoryPercent: "0.00%", NetworkIO: "0B / 0B", BlockIO: "0B / 0B", PIDs: "0",
		}},
		"busy": {
			tenants.ContainerStats{
				CPUPercent: 153.456, MemoryBytes: 191_260_262, MemoryLimitBytes: 2 << 30, NetworkInBytes: 1450, NetworkOutBytes: 656,
				BlockReadBytes: 12_345_678, BlockWriteBytes: 999_999_999_999, PIDs: 17,
			},
			tenants.ContainerTexts{
				CPUPercent: "153.46%", MemoryUsage: "182.4MiB / 2GiB", MemoryPercent: "8.91%", NetworkIO: "1.45kB / 656B",
				BlockIO: "12.3MB / 1e+03GB", PIDs: "17",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, tt.stats.Texts())
		})
	}
}
