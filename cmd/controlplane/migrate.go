package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"controlplane/internal/config"
	"controlplane/internal/postgres"
	"controlplane/migrations"
)

func newMigrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the platform database's schema up to date",
		Long: `Bring the platform database's schema up to date. Several may run at once: one works, the others wait for it.

It connects as the owner of the schema (MIGRATE_DATABASE_URL), and gives the role that the running platform has
(the user of DATABASE_URL, which must exist) what that needs: it can change neither the schema nor the audit log.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(config.PartPlatform, config.PartMigrate)
			if err != nil {
				return err
			}
			return migrate(cmd.Context(), cfg, newLogger(cfg.API.LogLevel, "migrate"))
		},
	}
}

func migrate(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	owner, variable := cfg.Platform.MigrateURL, "MIGRATE_DATABASE_URL"
	if owner == "" { // only with DEBUG
		owner, variable = cfg.Platform.URL, "DATABASE_URL"
		log.WarnContext(ctx, "MIGRATE_DATABASE_URL isn't set: the platform runs as the owner of its database, and could rewrite the audit log")
	}
	pool, err := postgres.Open(ctx, owner.Reveal(), postgres.Options{ApplicationName: "controlplane migrate"})
	if err != nil {
		return fmt.Errorf("%s: %w", variable, err)
	}
	defer pool.Close()
	if err := postgres.Migrate(ctx, pool, migrations.FS, log); err != nil {
		return err
	}
	lesser, err := pgx.ParseConfig(cfg.Platform.URL.Reveal())
	if err != nil {
		return errors.New("DATABASE_URL can't be parsed") // pgx's own text may quote the password
	}
	if lesser.User == pool.Config().ConnConfig.User { // told above, or refused by the configuration
		return nil
	}
	return postgres.Grant(ctx, pool, lesser.User)
}
