package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/config"
	"controlplane/internal/postgres"
)

const (
	childReadyTimeout = time.Minute
	templatePoll      = 500 * time.Millisecond
)

//go:embed dev_walkthrough.txt
var walkthroughText string

// greet waits until everything answers, shows how the templates come along, and prints addresses, credentials and the walk-through.
func (d *dev) greet(ctx context.Context, cfg config.Config) error {
	d.say("API, worker, edge and payment simulator")
	if err := waitFor(ctx, "http://"+loopback(cfg.API.Listen)+"/api/ready", childReadyTimeout); err != nil {
		return err
	}
	pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 2, ApplicationName: "controlplane dev"})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer pool.Close()
	shown, err := d.watchTemplates(ctx, pool, 1, 0)
	if err != nil {
		return err
	}
	if err := d.printWalkthrough(cfg); err != nil {
		return err
	}
	if _, err := d.watchTemplates(ctx, pool, allTemplates, shown); err != nil {
		return err
	}
	d.say("ready; Ctrl-C stops the platform's processes")
	return nil
}

// allTemplates makes watchTemplates wait for the last one.
const allTemplates = -1

// watchTemplates prints what the template builds say, after the log line with id last, until enough of them are ready. It returns the
// last line's id. A database that is down for a while is waited for: users may well try that.
func (d *dev) watchTemplates(ctx context.Context, pool *pgxpool.Pool, enough int, last int64) (int64, error) {
	for {
		ready, total, err := countTemplates(ctx, pool)
		if err == nil {
			last, err = d.printTemplateNotes(ctx, pool, last)
		}
		if err == nil && total > 0 && (ready == total || enough != allTemplates && ready >= enough) {
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-time.After(templatePoll):
		}
	}
}

func countTemplates(ctx context.Context, pool *pgxpool.Pool) (ready, total int, err error) {
	const q = `SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FROM templates`
	if err := pool.QueryRow(ctx, q).Scan(&ready, &total); err != nil {
		return 0, 0, fmt.Errorf("count the templates: %w", err)
	}
	return ready, total, nil
}

// printTemplateNotes prints the log lines after the one with id last, of builds since this start.
func (d *dev) printTemplateNotes(ctx context.Context, pool *pgxpool.Pool, last int64) (int64, error) {
	const q = `SELECT e.id, t.apps_key, e.event, e.step, e.message
		FROM operation_events e
		JOIN operations o ON o.id = e.operation_id
		JOIN templates t ON o.subject = 'template/' || t.id
		WHERE e.id > $1 AND e.at > $2 AND e.event IN ('note', 'retry', 'held', 'done')
		ORDER BY e.id LIMIT 100`
	rows, err := pool.Query(ctx, q, last, d.started)
	if err != nil {
		return last, fmt.Errorf("read the templates' progress: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var apps, event, step, message string
		if err := rows.Scan(&last, &apps, &event, &step, &message); err != nil {
			return last, fmt.Errorf("read the templates' progress: %w", err)
		}
		d.say("template (%s): %s", shortApps(apps), progressLine(event, step, message))
	}
	return last, rows.Err()
}

func progressLine(event, step, message string) string {
	switch event {
	case "note":
		return message
	case "done":
		return "ready"
	default:
		return strings.TrimSpace(event + " " + step + ": " + message)
	}
}

// shortApps keeps a line readable: the enterprise set has eleven apps.
func shortApps(apps string) string {
	names := strings.Split(apps, ",")
	if len(names) <= 3 {
		return apps
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:2], ","), len(names)-2)
}

func (d *dev) printWalkthrough(cfg config.Config) error {
	t, err := template.New("walkthrough").Parse(walkthroughText)
	if err != nil {
		return fmt.Errorf("read the walk-through: %w", err)
	}
	d.outMu.Lock()
	defer d.outMu.Unlock()
	return t.Execute(d.out, map[string]any{
		"API": cfg.API.PublicURL, "Edge": cfg.Edge.PublicURL, "Tenant": cfg.TenantURL("acme." + cfg.BaseDomain),
		"Simulated": d.simulated(), "Gateway": cfg.Paystack.BaseURL,
		"Admin": devAdmin, "AdminPassword": d.setting("DEV_ADMIN_PASSWORD"),
		"Customer": devCustomer, "CustomerPassword": d.setting("DEV_CUSTOMER_PASSWORD"),
		"Logs": d.state.path("logs"),
	})
}
