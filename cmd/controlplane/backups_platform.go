package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/backup/store"
	"controlplane/internal/cleanup"
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
	dump, err := p.platformDump()
	if err != nil {
		return nil, err
	}
	zone, err := p.cfg.BackupZone()
	if err != nil {
		return nil, fmt.Errorf("BACKUP_TIMEZONE: %w", err)
	}
	own := backup.Platform{
		Vault: backup.NewVault(place, keys, p.cfg.Backup.KeyPrefix()), Installation: installation, Dump: dump, Zone: zone, Now: time.Now,
	}
	return []cleanup.Sweep{
		{
			Name: "platform_backup", Description: "Backs up the platform's own database", Cron: "30 * * * *", Jitter: 5 * time.Minute,
			Timeout: 2 * time.Hour, Run: cleanup.Plain(own.Take),
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

// platformDump dumps the platform's database as the role that the platform runs as, which can read all of it.
func (p *platform) platformDump() (func(ctx context.Context, w io.Writer) error, error) {
	url, err := pgx.ParseConfig(p.cfg.Platform.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	mode := "require"
	if url.TLSConfig == nil {
		mode = "disable"
	}
	server, err := pgtools.New(pgtools.Options{Host: url.Host, Port: int(url.Port), SSLMode: mode, Image: p.cfg.Engine.PostgresImage, Tools: p.engine})
	if err != nil {
		return nil, fmt.Errorf("set up the backup of the platform's database: %w", err)
	}
	access := backup.Access{Database: url.Database, Role: url.User, Password: secrets.Secret(url.Password), Tool: "backup_platform_tool"}
	return func(ctx context.Context, w io.Writer) error { return server.Dump(ctx, access, w) }, nil
}
