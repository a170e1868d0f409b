package main

import (
	"context"
	"fmt"
	"net/http"

	"controlplane/internal/alerts"
	"controlplane/internal/api"
	"controlplane/internal/feed"
	"controlplane/internal/idempotency"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/ratelimit"
	"controlplane/migrations"
)

// handler wires the API.
func (p *platform) handler(events *feed.Feed) (http.Handler, error) {
	schedules := schedulesAPI{p.schedules}
	inspector, err := p.inspector()
	if err != nil {
		return nil, err
	}
	zips, imports, err := p.transfers()
	if err != nil {
		return nil, err
	}
	return api.New(api.Deps{
		Accounts: p.accounts, Tenants: p.tenants, Billing: p.billing, Invoices: p.invoices, Domains: p.domains, Ops: p.ops, Audit: p.audit, Alerts: alerts.New(p.pool), Feed: events,
		Idempotency: idempotency.New(p.pool, idempotency.Options{}), Limiter: ratelimit.New(p.pool),
		Passwords: provision.Resetter{Pool: p.pool, Ops: p.ops}, Schedules: schedules, Cleaner: schedules, Inspector: inspector, Metrics: p.capacity,
		Backups: p.backupDesk, BackupPlans: p.backupPlans, Zips: zips, Imports: imports,
		Checks: p.checks(), Log: p.log,
	}, api.Options{
		AppName: p.cfg.AppName, Version: version, PublicURL: p.cfg.API.PublicURL, TenantURL: p.cfg.TenantURL,
		CORSOrigins: p.cfg.CORSOrigins, TrustedProxies: p.cfg.API.TrustedProxies, Docs: api.Docs(p.cfg.DocsAccess()),
		CleanupToken: p.cfg.Auth.CleanupToken,
	})
}

// checks are what /api/ready looks at.
func (p *platform) checks() []api.Check {
	checks := []api.Check{
		{Name: "platform database", Probe: p.pool.Ping},
		{Name: "migrations", Probe: func(ctx context.Context) error {
			pending, err := postgres.Pending(ctx, p.pool, migrations.FS)
			if err == nil && pending > 0 {
				err = fmt.Errorf("%d migrations are missing", pending)
			}
			return err
		}},
	}
	if p.engine != nil {
		checks = append(checks,
			api.Check{Name: "container engine", Probe: p.engine.Ping},
			api.Check{Name: "tenants' database server", Probe: p.cluster.Ping},
		)
	}
	return checks
}
