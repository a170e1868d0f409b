package provision

import (
	"context"

	"controlplane/internal/tenants"
)

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
