package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"controlplane/internal/alerts"
	"controlplane/internal/config"
	"controlplane/internal/edge"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// edgeGCPercent lets the edge's heap grow to four times what it keeps, which is little, before it is collected: at Go's own setting a tenth of
// its time goes into that.
const edgeGCPercent = 300

func newEdgeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "edge",
		Short: "Run the edge: the world's way to the tenants",
		Long: `Run the edge: the world's way to the tenants.

It reads its routes from the platform database and keeps a copy on disk (EDGE_STATE_FILE), so that running tenants
are served when everything else is down, also after a restart of the edge.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(config.PartPlatform, config.PartTLS)
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(cfg.Edge.StateFile), 0o700); err != nil {
				return fmt.Errorf("EDGE_STATE_FILE: its folder can't be made: %w", errors.Unwrap(err))
			}
			debug.SetGCPercent(edgeGCPercent)
			ctx := cmd.Context()
			log := newLogger(cfg.API.LogLevel, "edge")
			pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 8, ApplicationName: "controlplane edge"})
			if err != nil {
				return fmt.Errorf("DATABASE_URL: %w", err)
			}
			defer pool.Close()
			tls, err := openTLS(cfg, pool)
			if err != nil {
				return err
			}
			e, err := edge.New(edge.Options{
				Listen: cfg.Edge.Listen, BaseDomain: cfg.BaseDomain, Pool: pool, StateFile: cfg.Edge.StateFile,
				TrustedProxies: cfg.API.TrustedProxies, APIUpstream: cfg.Edge.API, CORSOrigins: cfg.CORSOrigins, ProductName: cfg.AppName, Log: log,
				Brand:     edge.Brand{Color: cfg.Edge.BrandColor, LogoFile: cfg.Edge.BrandLogo, SupportURL: cfg.Edge.SupportURL},
				AccessLog: cfg.Edge.AccessLogFile(), MetricsListen: cfg.Edge.Metrics, TLS: tls,
				Step: func(ctx context.Context, id tenants.ID) (string, error) { return ops.StepOf(ctx, pool, id.Subject()) },
				OnHealth: func(ctx context.Context, reporter string, failing []edge.TenantHealth) error {
					return tellFailing(ctx, pool, reporter, failing)
				},
			})
			if err != nil {
				return err
			}
			return e.Run(ctx)
		},
	}
}

const alertFailing = "tenant.failing"

// tellFailing lets operators know of tenants whose users get errors from an edge.
func tellFailing(ctx context.Context, pool *pgxpool.Pool, reporter string, failing []edge.TenantHealth) error {
	seen := make([]alerts.Alert, len(failing))
	for i, h := range failing {
		seen[i] = alerts.Alert{
			Subject: h.TenantID.Subject(),
			Message: fmt.Sprintf("%d of the last %d answers of client %q were errors (5xx) of its Odoo", h.Errors, h.Answers, h.Name),
		}
	}
	return alerts.Report(ctx, pool, "edge/"+reporter, alertFailing, seen)
}
