package domains

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/certs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Overview is all about the domains of one tenant.
type Overview struct {
	Tenant  tenants.Tenant
	Domains []Domain // in the order in which they were added
	Limit   int      // how many its plan has room for

	Certificates map[string]certs.Record // by domain; one that is missing was never asked for
}

// Of returns the domains of the caller's tenant, or for an admin anybody's. Errors: tenants.ErrNotFound.
func (s *Service) Of(ctx context.Context, p accounts.Principal, name string) (Overview, error) {
	t, err := s.deps.Tenants.Get(ctx, p, name)
	if err != nil {
		return Overview{}, err
	}
	o := Overview{Tenant: t}
	if err := s.deps.Pool.QueryRow(ctx, "SELECT max_domains FROM plans WHERE id = $1", t.PlanID).Scan(&o.Limit); err != nil {
		return o, wrap(err, "read how many domains the plan has")
	}
	o.Domains, err = many(ctx, s.deps.Pool, "list the domains", "SELECT "+columns+" FROM tenant_domains WHERE tenant_id = $1 ORDER BY id", t.ID)
	if err != nil {
		return o, err
	}
	o.Certificates, err = s.Certificates(ctx, o.Domains...)
	return o, err
}

// NamesOf returns the domains of several tenants, proven or not, for lists.
func (s *Service) NamesOf(ctx context.Context, ids []tenants.ID) (map[tenants.ID][]string, error) {
	rows, err := s.deps.Pool.Query(ctx, "SELECT tenant_id, domain FROM tenant_domains WHERE tenant_id = ANY($1) ORDER BY id", ids)
	if err != nil {
		return nil, wrap(err, "list the clients' domains")
	}
	names := map[tenants.ID][]string{}
	var id tenants.ID
	var name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		names[id] = append(names[id], name)
		return nil
	})
	return names, wrap(err, "list the clients' domains")
}

// Add claims a domain for the caller's tenant. Nothing is routed until it is proven.
// Errors: tenants.ErrNotFound, ErrBadDomain, ErrNoCA, ErrAlreadyAdded, ErrInUse, ErrTooMany, ErrConflict.
func (s *Service) Add(ctx context.Context, p accounts.Principal, ip netip.Addr, name, text string) (tenants.Tenant, Domain, error) {
	if _, err := s.deps.Tenants.Get(ctx, p, name); err != nil { // before anything else is told
		return tenants.Tenant{}, Domain{}, err
	}
	domain, display, err := s.parse(text)
	if err != nil {
		return tenants.Tenant{}, Domain{}, err
	}
	if s.opts.NoCA {
		return tenants.Tenant{}, Domain{}, ErrNoCA
	}
	var t tenants.Tenant
	var d Domain
	err = postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		if err := lockName(ctx, tx, domain); err != nil {
			return err
		}
		if t, err = s.deps.Tenants.LockOwn(ctx, tx, p, name); err != nil {
			return err
		}
		if err := claimable(ctx, tx, t, domain); err != nil {
			return err
		}
		now := s.now()
		d, err = one(ctx, tx, "claim the domain", `INSERT INTO tenant_domains (tenant_id, domain, display, token, created_at, expires_at, next_check_at)
			VALUES ($1, $2, $3, $4, $5, $6, $5) RETURNING `+columns, t.ID, domain, display, secrets.RandomHex(16), now, now.Add(s.opts.ClaimAge))
		if err != nil {
			return err
		}
		return s.record(ctx, tx, p, ip, d, "client.domain_add", nil)
	})
	return t, d, err
}

// claimable says whether the tenant, which is locked, may claim the domain now. One that another has proven is only to be had when it doesn't
// lead to us any more, or its proof is gone: then it may have another owner.
func claimable(ctx context.Context, tx pgx.Tx, t tenants.Tenant, domain string) error {
	if t.State != tenants.Active && t.State != tenants.Suspended && t.State != tenants.Sleeping {
		return ErrConflict
	}
	var mine, taken bool
	var count, limit int
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM tenant_domains WHERE tenant_id = $1 AND domain = $2),
			EXISTS (SELECT FROM tenant_domains WHERE tenant_id <> $1 AND domain = $2 AND status = 'live'),
			(SELECT count(*) FROM tenant_domains WHERE tenant_id = $1), (SELECT max_domains FROM plans WHERE id = $3)`,
		t.ID, domain, t.PlanID).Scan(&mine, &taken, &count, &limit)
	switch {
	case err != nil:
		return wrap(err, "look for the domain")
	case mine:
		return ErrAlreadyAdded
	case taken:
		return ErrInUse
	case count >= limit:
		return ErrTooMany.WithMessage("The plan has room for %d domains: remove one, or change to a larger plan", limit)
	}
	return nil
}

// Remove gives up a domain: it isn't routed any more, and its certificate not renewed. If the tenant's links bore it they go back to the
// platform address, by the operation that is returned or, if something else is going on, soon after. Errors: tenants.ErrNotFound, ErrNotFound.
func (s *Service) Remove(ctx context.Context, p accounts.Principal, ip netip.Addr, name, text string) (d Domain, op *ops.Operation, err error) {
	if _, err := s.deps.Tenants.Get(ctx, p, name); err != nil {
		return Domain{}, nil, err
	}
	domain, err := s.normal(text)
	if err != nil {
		return Domain{}, nil, ErrNotFound.WithCause(err)
	}
	err = postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		if err := lockName(ctx, tx, domain); err != nil {
			return err
		}
		t, err := s.deps.Tenants.LockOwn(ctx, tx, p, name)
		if err != nil {
			return err
		}
		if d, err = ofTenant(ctx, tx, t.ID, domain); err != nil {
			return err
		}
		if op, err = s.drop(ctx, tx, d); err != nil {
			return err
		}
		return s.record(ctx, tx, p, ip, d, "client.domain_remove", nil)
	})
	return d, op, err
}

// drop removes a claim of a tenant that is locked, and has its links follow.
func (s *Service) drop(ctx context.Context, tx pgx.Tx, d Domain) (*ops.Operation, error) {
	if err := remove(ctx, tx, d.ID); err != nil {
		return nil, err
	}
	t, err := s.deps.Tenants.Lock(ctx, tx, d.TenantID)
	if err != nil {
		return nil, err
	}
	return s.deps.Tenants.LinksTx(ctx, tx, t)
}

func (s *Service) record(ctx context.Context, tx pgx.Tx, p accounts.Principal, ip netip.Addr, d Domain, action string, more map[string]any) error {
	detail := map[string]any{"domain": d.Name}
	for k, v := range more {
		detail[k] = v
	}
	return s.deps.Audit.RecordTx(ctx, tx, audit.Entry{
		AccountID: int64(p.AccountID), Actor: p.Username, TenantID: int64(d.TenantID), Action: action, IP: ip, Detail: detail,
	})
}
