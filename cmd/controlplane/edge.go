package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"controlplane/internal/config"
	"controlplane/internal/edge"
	"controlplane/internal/postgres"
)

func newEdgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "edge",
		Short: "Run the edge: the world's way to the tenants",
		Long: `Run the edge: the world's way to the tenants.

It reads its routes from the platform database and keeps a copy on disk (EDGE_STATE_FILE), so that running tenants
are served when everything else is down, also after a restart of the edge.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(config.PartPlatform)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(cfg.Edge.StateFile), 0o700); err != nil {
				return fmt.Errorf("EDGE_STATE_FILE: its folder can't be made: %w", errors.Unwrap(err))
			}
			ctx := cmd.Context()
			log := newLogger(cfg.API.LogLevel, "edge")
			pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 4, ApplicationName: "controlplane edge"})
			if err != nil {
				return fmt.Errorf("DATABASE_URL: %w", err)
			}
			defer pool.Close()
			e, err := edge.New(edge.Options{
				Listen: cfg.Edge.Listen, BaseDomain: cfg.BaseDomain, Pool: pool, StateFile: cfg.Edge.StateFile,
				TrustedProxies: cfg.API.TrustedProxies, APIUpstream: cfg.Edge.API, ProductName: cfg.AppName, Log: log,
			})
			if err != nil {
				return err
			}
			return e.Run(ctx)
		},
	}
}
