package config_test

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
)

func withBackups() map[string]string {
	environ := production()
	maps.Copy(environ, map[string]string{
		"S3_ACCESS_KEY": "AKJ7TQ3MZ", "S3_SECRET_KEY": "q8Vt-z3mNw5p", "BACKUP_KEY": "6a9b2d5e8f0f6e3f0a9c1b4d7e8a2b5c8d1e4f7a0b3c6d9e2f5a8b1c4d7e0f3a",
	})
	return environ
}

func TestBackup(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(production(), all...)
	require.NoError(t, err)
	require.False(t, cfg.Backup.Configured())

	cfg, err = config.Load(withBackups(), append(all, config.PartBackups)...)
	require.NoError(t, err)
	b := cfg.Backup
	require.True(t, b.Configured())
	require.Equal(t, []any{"eu-west-1", "odoo-backups", "clients/", 30 * 24 * time.Hour}, []any{b.Region, b.Bucket, b.KeyPrefix(), b.FinalRetention()})
	zone, err := cfg.BackupZone()
	require.NoError(t, err)
	require.Equal(t, "Africa/Lagos", zone.String())
}

func TestBackup_Prefix(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"a": "a/", "/a/b/": "a/b/", "/": ""} {
		require.Equal(t, want, config.Backup{Prefix: text}.KeyPrefix())
	}
}

func TestBackup_KnowsTheOtherChecklistsNames(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("z3mN-w5pRx7b\n"), 0o600))
	environ := withBackups()
	delete(environ, "S3_SECRET_KEY")
	environ["S3_REGION"] = "nyc3"
	maps.Copy(environ, map[string]string{
		"SPACES_ENDPOINT": "https://sgp1.objects.ng", "SPACES_REGION": "sgp1", "SPACES_BUCKET": "ipai-odoo-backups",
		"SPACES_ACCESS_KEY": "ignored", "SPACES_SECRET_KEY_FILE": file,
	})
	cfg, err := config.Load(environ, config.PartBackups)
	require.NoError(t, err)
	b := cfg.Backup
	require.Equal(t, []string{"https://sgp1.objects.ng", "nyc3", "ipai-odoo-backups", "AKJ7TQ3MZ", "z3mN-w5pRx7b"},
		[]string{b.Endpoint, b.Region, b.Bucket, b.AccessKey, b.SecretKey.Reveal()})
}

func TestBackup_NamesEachProblem(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		variable, value, want string
	}{
		"no secret":         {"S3_SECRET_KEY", "", "S3_SECRET_KEY must be set"},
		"no key":            {"BACKUP_KEY", "", "BACKUP_KEY must be set"},
		"short key":         {"BACKUP_KEY", "6a9b2d5e8f0f6e3f0a9c1b4d7e8a2b5c8d1e4f7a0b3c6d9e2f5a8b1c4d7e0f3a,short", "BACKUP_KEY must be 32 bytes"},
		"the key of rows":   {"BACKUP_KEY", production()["DATA_KEY"], "BACKUP_KEY must differ from DATA_KEY"},
		"sample":            {"S3_SECRET_KEY", "xxx", "S3_ACCESS_KEY or S3_SECRET_KEY is a sample value"},
		"not an address":    {"S3_ENDPOINT", "s3.example", "S3_ENDPOINT must be an http"},
		"no such zone":      {"BACKUP_TIMEZONE", "Lagos", "BACKUP_TIMEZONE is not valid"},
		"none at once":      {"BACKUP_PARALLEL", "0", "BACKUP_PARALLEL must be at least 1"},
		"forgotten at once": {"FINAL_BACKUP_RETENTION", "0", "FINAL_BACKUP_RETENTION must be at least 1"},
	} {
		environ := withBackups()
		environ[c.variable] = c.value
		_, err := config.Load(environ, all...)
		require.ErrorContains(t, err, c.want, name)
	}
	_, err := config.Load(production(), config.PartBackups)
	require.ErrorContains(t, err, "S3_ACCESS_KEY must be set")
	require.ErrorContains(t, err, "BACKUP_KEY must be set")
}

// After a disaster there may be no more than this.
func TestLoadBackup(t *testing.T) {
	t.Parallel()
	environ := map[string]string{"S3_ACCESS_KEY": "AKJ7TQ3MZ", "S3_SECRET_KEY": "q8Vt-z3mNw5p", "BACKUP_KEY": withBackups()["BACKUP_KEY"], "DATABASE_URL": "nonsense"}
	b, err := config.LoadBackup(environ)
	require.NoError(t, err)
	require.True(t, b.Configured())
	delete(environ, "BACKUP_KEY")
	_, err = config.LoadBackup(environ)
	require.ErrorContains(t, err, "BACKUP_KEY must be set")
}
