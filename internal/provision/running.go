package provision

import (
	"context"
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
