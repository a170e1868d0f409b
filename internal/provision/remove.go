package provision

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/tenants"
)

// stopGrace is how long an Odoo may take to finish what it is doing.
const stopGrace = 20 * time.Second

// Teardown removes everything that a tenant has outside our database, and lets its subnet rest. What is absent is passed over, so a repeat
// goes on where it was stopped. The caller sees to the tenant's state and to that nothing is being made of it at the same time.
func (s *Service) Teardown(ctx context.Context, t tenants.Tenant) error {
	if err := s.runtime.StopContainer(ctx, containerName(t), stopGrace); err != nil {
		return fmt.Errorf("stop tenant %s: %w", t.ID, err)
	}
	if err := s.runtime.RemoveContainer(ctx, containerName(t)); err != nil {
		return fmt.Errorf("remove tenant %s: %w", t.ID, err)
	}
	if err := s.runtime.RemoveNetwork(ctx, networkName(t)); err != nil {
		return fmt.Errorf("remove tenant %s: %w", t.ID, err)
	}
	for _, volume := range []string{configVolume(t), addonsVolume(t), dataVolume(t)} {
		if err := s.runtime.RemoveVolume(ctx, volume); err != nil {
			return fmt.Errorf("remove tenant %s: %w", t.ID, err)
		}
	}
	if err := s.database.RemoveTenant(ctx, t.DBName, t.ID.Subject()); err != nil {
		return fmt.Errorf("remove tenant %s: %w", t.ID, err)
	}
	return s.releaseSubnet(ctx, t.ID)
}
