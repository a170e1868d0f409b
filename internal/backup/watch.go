package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/tenants"
)

// The kinds of alerts that Watch raises about a tenant.
const (
	alertOverdue  = "backup.overdue"  // its newest good full backup is too old
	alertUnproven = "backup.unproven" // the newest that was restored and started is
)

// alertNowhere is for a platform that had a place for backups and has none any more. There is one at most, on nobody in particular.
const alertNowhere, everybody = "backup.not_configured", "backups"

// Watch tells operators of running clients whose newest good backup, or newest proven one, is too old: what counts is the age of what
// could be restored, not whether jobs say that they are done. It returns how many clients that are.
func (p *Planner) Watch(ctx context.Context) (behind int, err error) {
	behind, err = p.watchAges(ctx)
	return behind, errors.Join(err, alerts.Resolve(ctx, p.deps.Pool, alertNowhere, everybody))
}

func (p *Planner) watchAges(ctx context.Context) (behind int, err error) {
	list, err := p.candidates(ctx, "t.state <> 'maintenance'")
	if err != nil {
		return 0, err
	}
	since, err := p.provingSince(ctx)
	if err != nil {
		return 0, err
	}
	overdue, unproven := map[tenants.ID]time.Duration{}, map[tenants.ID]time.Duration{}
	now := p.deps.Now()
	for _, c := range list {
		if age := now.Sub(later(c.since, c.lastBegan)); c.changed && age >= p.opts.Overdue {
			overdue[c.id] = age
		}
		if c.first == nil { // it is overdue, if anything
			continue
		}
		if age := now.Sub(later(later(*c.first, c.proven), &since)); age >= p.opts.Unproven {
			unproven[c.id] = age
		}
	}
	err = errors.Join(
		p.tell(ctx, alertOverdue, overdue, "The newest good backup is %s old"),
		p.tell(ctx, alertUnproven, unproven, "No backup was proven by restoring it for %s"),
	)
	return len(overdue) + len(unproven), err
}

// WatchWithout is Watch where no place for backups is configured. Who never had one decided so; but if there are backups the place was taken
// away, be it by mistake, and clients count on it.
func (p *Planner) WatchWithout(ctx context.Context) error {
	var had bool
	err := p.deps.Pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM backups b JOIN tenants t ON t.id = b.tenant_id
		WHERE b.state = 'done' AND t.state NOT IN ('deleting', 'deleted'))`).Scan(&had)
	if err != nil {
		return fmt.Errorf("look whether there ever was a place for backups: %w", err)
	}
	if !had {
		return alerts.Resolve(ctx, p.deps.Pool, alertNowhere, everybody)
	}
	if _, err := p.watchAges(ctx); err != nil {
		return err
	}
	return alerts.Raise(ctx, p.deps.Pool, alerts.Alert{
		Kind: alertNowhere, Subject: everybody,
		Message: "Clients have backups, and no place for them is configured any more (S3_ACCESS_KEY is empty): nobody is backed up, and nothing can be restored.",
	})
}

// provingSince is when backups began to be proven here: nobody is late by the time before.
func (p *Planner) provingSince(ctx context.Context) (since time.Time, err error) {
	if err := p.deps.Pool.QueryRow(ctx, "SELECT since FROM backup_proving").Scan(&since); err != nil {
		return since, fmt.Errorf("read since when backups are proven: %w", err)
	}
	return since, nil
}

func later(a time.Time, b *time.Time) time.Time {
	if b != nil && b.After(a) {
		return *b
	}
	return a
}

// tell raises an alert for each of them, and resolves those that are open for others.
func (p *Planner) tell(ctx context.Context, kind string, behind map[tenants.ID]time.Duration, text string) error {
	rows, err := p.deps.Pool.Query(ctx, "SELECT subject FROM alerts WHERE kind = $1 AND resolved_at IS NULL", kind)
	if err != nil {
		return fmt.Errorf("read the open alerts: %w", err)
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read the open alerts: %w", err)
	}
	var failures []error
	for _, subject := range open {
		if id, ok := tenants.OfSubject(subject); ok && behind[id] == 0 {
			failures = append(failures, alerts.Resolve(ctx, p.deps.Pool, kind, subject))
		}
	}
	for id, age := range behind {
		failures = append(failures, alerts.Raise(ctx, p.deps.Pool, alerts.Alert{
			Kind: kind, Subject: id.Subject(), Message: fmt.Sprintf(text, age.Round(time.Hour)),
		}))
	}
	return errors.Join(failures...)
}
