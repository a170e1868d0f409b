package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
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
	conn, err := pgx.ParseConfig(p.cfg.Platform.URL.Reveal())
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	mode, root := verified(p.cfg.Platform.URL)
	if mode == "" {
		mode = sslMode(conn)
	}
	server, err := pgtools.New(pgtools.Options{
		Host: conn.Host, Port: int(conn.Port), SSLMode: mode, RootCertFile: root, Image: p.cfg.Engine.PostgresImage, Tools: p.engine,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the backup of the platform's database: %w", err)
	}
	access := backup.Access{Database: conn.Database, Role: conn.User, Password: secrets.Secret(conn.Password), Tool: "backup_platform_" + installation + "_tool"}
	return func(ctx context.Context, w io.Writer) error { return server.Dump(ctx, access, w) }, nil
}

// verified returns how a connection string verifies the server, and the file with the certificate that it does so by. Without one, which is
// to say by the certificates of this machine, programs in a container can't.
func verified(connection secrets.Secret) (mode, root string) {
	u, err := url.Parse(connection.Reveal())
	if err != nil {
		return "", ""
	}
	mode, root = u.Query().Get("sslmode"), u.Query().Get("sslrootcert")
	if !slices.Contains([]string{"verify-ca", "verify-full"}, mode) || root == "" || root == "system" {
		return "", ""
	}
	return mode, root
}

// sslMode is what the connection string asks of TLS, for programs in a container. Without a file they don't have the certificates that verify-ca
// and verify-full look at: to those the connection is encrypted, and whose it is is left to the password, which both ends prove to each other.
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
