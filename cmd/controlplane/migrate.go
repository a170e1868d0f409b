package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"controlplane/internal/config"
	"controlplane/internal/postgres"
	"controlplane/migrations"
)

func newMigrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the platform database's schema up to date",
		Long:  "Bring the platform database's schema up to date. Several may run at once: one works, the others wait for it.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(config.PartPlatform)
			if err != nil {
				return err
			}
			return migrate(cmd.Context(), cfg, newLogger(cfg.API.LogLevel, "migrate"))
		},
	}
}

func migrate(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{ApplicationName: "controlplane migrate"})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer pool.Close()
	return postgres.Migrate(ctx, pool, migrations.FS, log)
}
