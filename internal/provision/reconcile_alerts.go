package provision

import (
	"context"
	"fmt"

	"controlplane/internal/alerts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// The kinds of alert that a reconciliation raises.
const (
	alertMissing  = "tenant.data_missing" // and nothing makes it anew: a person restores a backup
	alertFlapping = "tenant.flapping"
	alertOrphans  = "orphans.found"

	orphansSubject = "installation"
)

func (s *Service) raise(ctx context.Context, q postgres.Querier, kind, subject, message string) error {
	if err := alerts.Raise(ctx, q, alerts.Alert{Kind: kind, Subject: subject, Message: message}); err != nil {
		return fmt.Errorf("raise alert %s of %s: %w", kind, subject, err)
	}
	return nil
}

// openAlerts is how many open alerts of a kind are looked through for ones that are over.
const openAlerts = 500

// tellMissing raises an alert for each tenant whose data is gone, and takes back those whose data is there again, or no longer wanted.
func (s *Service) tellMissing(ctx context.Context, w Worlds, missing map[tenants.ID]string) error {
	for _, v := range w.Tenants {
		what, gone := missing[v.ID]
		if !gone {
			continue
		}
		s.log.ErrorContext(ctx, "a tenant's data is missing", "tenant", v.ID, "name", v.Name, "missing", what)
		message := fmt.Sprintf("Client %s can't run: %s. It isn't made anew empty.", v.Name, what)
		if err := s.raise(ctx, s.pool, alertMissing, v.ID.Subject(), message); err != nil {
			return err
		}
	}
	open, err := alerts.New(s.pool).List(ctx, alerts.Filter{Kind: alertMissing, Limit: openAlerts})
	if err != nil {
		return err
	}
	for _, a := range open {
		id, ok := tenants.OfSubject(a.Subject)
		if _, gone := missing[id]; ok && gone {
			continue
		}
		if err := alerts.Resolve(ctx, s.pool, alertMissing, a.Subject); err != nil {
			return err
		}
	}
	return nil
}

// tellCalm takes back the alerts of tenants that have stayed mended since for as long as their mendings are counted.
func (s *Service) tellCalm(ctx context.Context) error {
	open, err := alerts.New(s.pool).List(ctx, alerts.Filter{Kind: alertFlapping, Limit: openAlerts})
	if err != nil {
		return err
	}
	for _, a := range open {
		var calm bool
		err := s.pool.QueryRow(ctx, `
			SELECT $2 < now() - $3::interval AND NOT EXISTS (SELECT FROM operations WHERE subject = $1 AND created_at > now() - $3::interval)`,
			a.Subject, a.LastAt, mendingsCounted).Scan(&calm)
		if err != nil {
			return fmt.Errorf("look for mendings of %s: %w", a.Subject, err)
		}
		if !calm {
			continue
		}
		if err := alerts.Resolve(ctx, s.pool, alertFlapping, a.Subject); err != nil {
			return err
		}
	}
	return nil
}

// tellOrphans has one alert for all of them.
func (s *Service) tellOrphans(ctx context.Context, left int) error {
	if left == 0 {
		return alerts.Resolve(ctx, s.pool, alertOrphans, orphansSubject)
	}
	return s.raise(ctx, s.pool, alertOrphans, orphansSubject, fmt.Sprintf(
		"%d objects bear our installation's id and belong to nothing; \"controlplane admin orphans\" lists them.", left))
}
