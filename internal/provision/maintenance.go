package provision

import (
	"context"
	"net"
	"strconv"

	"controlplane/internal/tenants"
)

// Halt stops a tenant's Odoo for what can't be done while it runs; whoever calls it has the tenant in maintenance, or it is suspended.
func (s *Service) Halt(ctx context.Context, t tenants.Tenant) error { return s.stopContainer(ctx, t) }

// Prepare makes the container of a halted tenant what its row says, with the volumes that this names, and odoo.conf too. It starts nothing.
func (s *Service) Prepare(ctx context.Context, t tenants.Tenant) error {
	w, err := s.loadExisting(ctx, t)
	if err != nil {
		return err
	}
	if err := s.ensureNetwork(ctx, w, 0); err != nil {
		return outcome(err)
	}
	if err := s.runtime.EnsureContainer(ctx, s.container(w, 0)); err != nil {
		return outcome(err)
	}
	return s.refreshConf(ctx, w)
}

// Run prepares and starts a tenant's Odoo, and waits until it answers. Errors: ErrNotReady.
func (s *Service) Run(ctx context.Context, t tenants.Tenant) error {
	if err := s.Prepare(ctx, t); err != nil {
		return err
	}
	if err := s.startContainer(ctx, t); err != nil {
		return err
	}
	subnet, err := subnetOf(ctx, s.pool, t.ID)
	if err != nil {
		return err
	}
	return s.waitReady(ctx, containerName(t), containerOf(subnet))
}

// Answers asks a tenant's Odoo once. Errors: ErrNotReady.
func (s *Service) Answers(ctx context.Context, t tenants.Tenant) error {
	subnet, err := subnetOf(ctx, s.pool, t.ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	base := "http://" + net.JoinHostPort(containerOf(subnet).String(), strconv.Itoa(httpPort))
	if err := s.prober.healthy(ctx, base, ""); err != nil {
		return ErrNotReady.WithCause(err)
	}
	return nil
}
