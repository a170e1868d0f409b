package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/backup"
	"controlplane/internal/billing"
	"controlplane/internal/certs"
	"controlplane/internal/config"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const (
	tokenIssuer = "odoo-hosting" //nolint:gosec // not a credential
	dotEnv      = ".env"

	// quickWorkers are left for what takes seconds, such as a paid client's start, when all that backups may keep busy for hours is.
	quickWorkers = 2
	leastWorkers = 10
)

// loadConfig reads the environment and .env; parts names what the command needs.
func loadConfig(parts ...config.Part) (config.Config, error) {
	environ, err := config.Environ(dotEnv)
	if err != nil {
		return config.Config{}, err
	}
	return config.Load(environ, parts...)
}

// domain is the layer that every command shares: rows and rules, without the outside world.
type domain struct {
	pool     *pgxpool.Pool
	audit    *audit.Log
	chain    *audit.Chain
	ops      *ops.Engine // enqueues; serve's workers start it
	accounts *accounts.Service
	tenants  *tenants.Service
	sealer   *secrets.Sealer
}

// openDomain wires the domain packages; the caller closes the pool. It doesn't connect yet.
func openDomain(ctx context.Context, cfg config.Config, log *slog.Logger) (*domain, error) {
	pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 20})
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	sealer, err := secrets.NewSealer(cfg.Auth.DataKey)
	if err != nil {
		return nil, fmt.Errorf("DATA_KEY: %w", err)
	}
	d := &domain{
		pool: pool, sealer: sealer, audit: audit.New(pool), chain: audit.NewChain(audit.ChainDeps{Pool: pool, Sealer: sealer, Log: log}, audit.ChainOptions{}),
	}
	d.accounts, err = accounts.New(accounts.Deps{Pool: pool, Audit: d.audit, Log: log}, accounts.Options{ //nolint:contextcheck // it hashes one password, and waits for nothing
		SigningKey: cfg.Auth.SecretKey, Issuer: tokenIssuer, AccessTTL: cfg.Auth.AccessTTL(),
	})
	if err != nil {
		return nil, fmt.Errorf("set up accounts: %w", err)
	}
	workers := ops.Options{Workers: max(leastWorkers, backup.Places(cfg.Backup.Parallel)+quickWorkers)}
	if d.ops, err = ops.New(ops.Deps{Pool: pool, Log: log, OnHeld: raiseHeld, OnReleased: resolveHeld}, workers); err != nil {
		return nil, fmt.Errorf("set up the operations engine: %w", err)
	}
	d.tenants = tenants.New(tenants.Deps{Pool: pool, Sealer: sealer, Audit: d.audit, Ops: d.ops}, tenants.Options{BaseDomain: cfg.BaseDomain})
	return d, nil
}

// adminParts is what the operator's commands need; they run where serve's environment is.
func adminParts() []config.Part {
	return []config.Part{config.PartPlatform, config.PartAuth, config.PartSealing}
}

// openAdmin wires the domain for one operator command; the function it returns closes it.
func openAdmin(ctx context.Context) (*domain, func(), error) {
	cfg, err := loadConfig(adminParts()...)
	if err != nil {
		return nil, nil, err
	}
	d, err := openDomain(ctx, cfg, newLogger("warn", "admin"))
	if err != nil {
		return nil, nil, err
	}
	return d, d.pool.Close, nil
}

func openAccounts(ctx context.Context) (*accounts.Service, func(), error) {
	d, done, err := openAdmin(ctx)
	if err != nil {
		return nil, nil, err
	}
	return d.accounts, done, nil
}

// rekey re-seals all secrets with the first key of DATA_KEY.
func rekey(ctx context.Context) (int, error) {
	d, done, err := openAdmin(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	rows, err := d.tenants.Rekey(ctx)
	if err != nil {
		return rows, err
	}
	cards, err := billing.RekeyCards(ctx, d.pool, d.sealer)
	if err != nil {
		return rows + cards, err
	}
	certificates, err := certs.NewStore(d.pool, d.sealer).Rekey(ctx)
	return rows + cards + certificates, err
}
