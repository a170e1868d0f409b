package provision

import (
	"context"
	"errors"
	"fmt"

	"controlplane/internal/tenants"
)

// keepRunning starts the containers of active tenants that are stopped: by hand, with "make stop", or by an engine that came up without
// them. One that is missing is only reported.
func (s *Service) keepRunning(ctx context.Context) error {
	routes, err := tenants.Routes(ctx, s.pool)
	if err != nil {
		return fmt.Errorf("list the tenants: %w", err)
	}
	if err := s.ensureFirewall(ctx); err != nil {
		return err
	}
	for _, r := range routes {
		if r.State != tenants.Active {
			continue
		}
		if err := s.keepOneRunning(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) keepOneRunning(ctx context.Context, r tenants.Route) error {
	name := containerName(tenants.Tenant{Name: r.Name})
	status, err := s.runtime.InspectContainer(ctx, name)
	switch {
	case errors.Is(err, ErrForeign):
		s.log.ErrorContext(ctx, "an active tenant's container isn't ours", "tenant", r.TenantID, "container", name, "error", err)
		return nil
	case err != nil:
		return fmt.Errorf("look at tenant %s: %w", r.TenantID, err)
	case !status.Exists:
		s.log.ErrorContext(ctx, "an active tenant has no container", "tenant", r.TenantID, "container", name)
		return nil
	case status.Running:
		return nil
	}
	s.log.WarnContext(ctx, "starting an active tenant that was stopped", "tenant", r.TenantID, "exit_code", status.ExitCode, "oom", status.OOM)
	if err := s.runtime.StartContainer(ctx, name); err != nil {
		s.log.ErrorContext(ctx, "an active tenant can't be started", "tenant", r.TenantID, "error", err) // the others still can
	}
	return nil
}

func (s *Service) startContainer(ctx context.Context, t tenants.Tenant) error {
	if err := s.ensureFirewall(ctx); err != nil {
		return outcome(err)
	}
	return outcome(s.runtime.StartContainer(ctx, containerName(t)))
}

// restart is for an attempt that found no Odoo, and returns why. What was stopped by hand, by "make stop" or with the host stays stopped,
// and the next attempt would fare no better.
func (s *Service) restart(ctx context.Context, t tenants.Tenant, cause error) error {
	if err := s.startContainer(ctx, t); err != nil {
		return err
	}
	return cause
}
