package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"controlplane/internal/backup"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/backup/store"
	"controlplane/internal/cleanup"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// strayAge is how old an upload is that nobody works on any more.
const strayAge = 24 * time.Hour

// storeSweeps are for workers: they take the engine, whose containers have PostgreSQL's programs.
func (p *platform) storeSweeps(installation string) ([]cleanup.Sweep, error) {
	place, keys, err := openStore(p.cfg.Backup)
	if err != nil {
		return nil, err
	}
	dump, err := p.platformDump(installation)
	if err != nil {
		return nil, err
	}
	zone, err := p.cfg.BackupZone()
	if err != nil {
		return nil, fmt.Errorf("BACKUP_TIMEZONE: %w", err)
	}
	own := backup.Platform{
		Vault: backup.NewVault(place, keys, p.cfg.Backup.KeyPrefix()), Installation: installation, Dump: dump, Zone: zone, Now: time.Now, Alerts: p.pool,
	}
	return []cleanup.Sweep{
		{
			Name: "platform_backup", Description: "Backs up the platform's own database", Cron: "30 * * * *", Jitter: 5 * time.Minute,
			Timeout: 2 * time.Hour, Run: cleanup.Plain(own.Take),
		},
		{
			Name: "platform_backup_age", Description: "Tells operators when the newest backup of the platform's own database is too old", Cron: "*/15 * * * *",
			Jitter: time.Minute, Run: cleanup.Plain(func(ctx context.Context) error { return p.watchPlatform(ctx, own) }),
		},
		{
			Name: "backup_uploads", Description: "Frees what uploads that were cut short left in the backup store", Cron: "10 5 * * *", Jitter: time.Hour,
			Run: cleanup.Counted(strayUploads(place, p.cfg.Backup.KeyPrefix())),
		},
	}, nil
}

func strayUploads(place *store.Store, prefix string) func(ctx context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		return place.AbortUploads(ctx, prefix, time.Now().Add(-strayAge))
	}
}

// watchPlatform counts from when the platform's database was made.
func (p *platform) watchPlatform(ctx context.Context, own backup.Platform) error {
	since, err := postgres.InstalledAt(ctx, p.pool)
	if err != nil {
		return err
	}
	return own.Watch(ctx, since)
}

// platformDump dumps the platform's database as the role that the platform runs as, which can read all of it.
func (p *platform) platformDump(installation string) (func(ctx context.Context, w io.Writer) error, error) {
	url, err := pgx.ParseConfig(p.cfg.Platform.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	server, err := pgtools.New(pgtools.Options{Host: url.Host, Port: int(url.Port), SSLMode: sslMode(url), Image: p.cfg.Engine.PostgresImage, Tools: p.engine})
	if err != nil {
		return nil, fmt.Errorf("set up the backup of the platform's database: %w", err)
	}
	access := backup.Access{Database: url.Database, Role: url.User, Password: secrets.Secret(url.Password), Tool: "backup_platform_" + installation + "_tool"}
	return func(ctx context.Context, w io.Writer) error { return server.Dump(ctx, access, w) }, nil
}

// sslMode is what the connection string asks of TLS, for programs in a container. They don't have the certificates that verify-ca and
// verify-full look at: to those the connection is encrypted, and whose it is is left to the password, which both ends prove to each other.
func sslMode(c *pgx.ConnConfig) string {
	fallback := func(encrypted bool) bool {
		return slices.ContainsFunc(c.Fallbacks, func(f *pgconn.FallbackConfig) bool { return (f.TLSConfig != nil) == encrypted })
	}
	switch {
	case c.TLSConfig == nil && fallback(true):
		return "allow"
	case c.TLSConfig == nil:
		return "disable"
	case fallback(false):
		return "prefer"
	}
	return "require"
}
