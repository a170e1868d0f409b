package domains

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/certs"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// SetPrimary has the links that the tenant's Odoo makes bear a domain: a live one of its own, or the platform address. They follow by the
// operation in the Change or, if something else is going on, soon after. Errors: tenants.ErrNotFound, ErrNotFound, ErrNotLive,
// ErrNoCertificate, ErrConflict.
func (s *Service) SetPrimary(ctx context.Context, p accounts.Principal, ip netip.Addr, name, text string) (tenants.Change, error) {
	var c tenants.Change
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		t, err := s.deps.Tenants.LockOwn(ctx, tx, p, name)
		if err != nil {
			return err
		}
		domain, err := s.normal(text)
		if err != nil {
			return ErrNotFound.WithCause(err)
		}
		own := domain
		if domain == t.Domain {
			own = ""
		} else if err := s.mayBePrimary(ctx, tx, t, domain); err != nil {
			return err
		}
		c.Tenant = t
		if t.PrimaryDomain != domain {
			if c.Tenant, err = s.deps.Tenants.SetPrimaryDomainTx(ctx, tx, t.ID, own); err != nil {
				return err
			}
			if err := s.record(ctx, tx, p, ip, Domain{TenantID: t.ID, Name: domain}, "client.domain_primary", map[string]any{"before": t.PrimaryDomain}); err != nil {
				return err
			}
		}
		c.Operation, err = s.deps.Tenants.LinksTx(ctx, tx, c.Tenant)
		return err
	})
	return c, err
}

func (s *Service) mayBePrimary(ctx context.Context, tx pgx.Tx, t tenants.Tenant, domain string) error {
	d, err := ofTenant(ctx, tx, t.ID, domain)
	switch {
	case err != nil:
		return err
	case d.Status != Live:
		return ErrNotLive
	case t.State != tenants.Active && t.State != tenants.Suspended && t.State != tenants.Sleeping:
		return ErrConflict.WithMessage("The primary domain can be changed while the client is active or suspended")
	case s.opts.Certified:
		return s.certified(ctx, tx, domain)
	}
	return nil
}

// certified keeps links from leading to a page that no browser shows.
func (s *Service) certified(ctx context.Context, tx pgx.Tx, domain string) error {
	records, err := certs.Records(ctx, tx, domain)
	switch {
	case err != nil:
		return err
	case len(records) == 0 || records[0].Version == 0 || !s.now().Before(records[0].NotAfter):
		return ErrNoCertificate
	}
	return nil
}
