package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/cleanup"
	"controlplane/internal/config"
)

// What isn't configured isn't wired: deletions then say that there is no final backup.
func TestBackups_NoneConfigured(t *testing.T) {
	t.Parallel()
	p := &platform{}
	backups, err := newBackups(&domain{}, config.Config{})
	require.NoError(t, err)
	require.Nil(t, backups)
	require.NoError(t, p.wireBackupPlans())
	require.Nil(t, p.backupPlans)
	require.Nil(t, p.finalBackup())
}

func TestBackups_Sweeps(t *testing.T) {
	t.Parallel()
	p := &platform{domain: &domain{}, cfg: config.Config{
		Platform: config.Platform{URL: "postgres://platform:password@127.0.0.1:5432/platform?sslmode=disable"},
		Engine:   config.Engine{PostgresImage: "postgres:17"},
		Seller:   config.Seller{Timezone: "Africa/Lagos"},
		Backup: config.Backup{
			Endpoint: "http://127.0.0.1:1", Region: "us-east-1", Bucket: "odoo-backups", AccessKey: "a", SecretKey: "b",
			Key: "a key for backups in tests which is long enough", Parallel: 2, FinalDays: 30, MaxAge: 36,
		},
	}}
	stored, err := p.storeSweeps("test")
	require.NoError(t, err)
	schedules := cleanup.New(cleanup.Deps{}, cleanup.Options{})
	require.NotPanics(t, func() { schedules.Add(append(stored, p.backupSweeps()...)...) }, "their times can be understood, and no two have one name")
}
