package provision

import (
	"context"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// Halt stops a tenant's Odoo for what can't be done while it runs; whoever calls it has the tenant in maintenance, or it is suspended.
func (s *Service) Halt(ctx context.Context, t tenants.Tenant) error { return s.stopContainer(ctx, t) }

// Prepare makes the container of a halted tenant what its row says, with the volumes that this names, and odoo.conf too, and has the edge know
// where it will be. It starts nothing.
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
	if err := s.refreshConf(ctx, w); err != nil {
		return err
	}
	ep := tenants.Endpoint{Address: addressOf(t, w.subnet), HTTPPort: httpPort, EventPort: confOf(w.plan).eventPort()}
	return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error { return s.tenants.SetEndpointTx(ctx, tx, t.ID, ep) })
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
	return s.waitReady(ctx, containerName(t), addressOf(t, subnet))
}

// Answers asks a tenant's Odoo once. Errors: ErrNotReady.
func (s *Service) Answers(ctx context.Context, t tenants.Tenant) error {
	subnet, err := subnetOf(ctx, s.pool, t.ID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	base := "http://" + net.JoinHostPort(addressOf(t, subnet).String(), strconv.Itoa(httpPort))
	if err := s.prober.healthy(ctx, base, ""); err != nil {
		return ErrNotReady.WithCause(err)
	}
	return nil
}
