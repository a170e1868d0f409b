package provision

import (
	"context"

	"controlplane/internal/tenants"
)

// Halt stops a tenant's Odoo for what can't be done while it runs; whoever calls it has the tenant in maintenance, or it is suspended.
func (s *Service) Halt(ctx context.Context, t tenants.Tenant) error { return s.stopContainer(ctx, t) }

// Run starts a tenant's Odoo again and waits until it answers. Errors: ErrNotReady.
func (s *Service) Run(ctx context.Context, t tenants.Tenant) error {
	subnet, err := subnetOf(ctx, s.pool, t.ID)
	if err != nil {
		return err
	}
	if err := s.startContainer(ctx, t); err != nil {
		return err
	}
	return s.waitReady(ctx, containerName(t), containerOf(subnet))
}
