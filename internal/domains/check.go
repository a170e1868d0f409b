package domains

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
)

const (
	checksAtOnce = 16
	checksPerRun = 1000
)

// Verify looks at the DNS of the caller's domain now, and returns the domain as that leaves it. Errors: tenants.ErrNotFound, ErrNotFound,
// ErrExpired.
func (s *Service) Verify(ctx context.Context, p accounts.Principal, ip netip.Addr, name, text string) (Domain, error) {
	t, err := s.deps.Tenants.Get(ctx, p, name)
	if err != nil {
		return Domain{}, err
	}
	domain, err := s.normal(text)
	if err != nil {
		return Domain{}, ErrNotFound.WithCause(err)
	}
	d, err := ofTenant(ctx, s.deps.Pool, t.ID, domain)
	if err != nil {
		return Domain{}, err
	}
	return s.check(ctx, p, ip, d)
}

// CheckDue looks at the DNS of all domains whose time has come, drops claims that nobody has proven in time, and returns how many it saw.
func (s *Service) CheckDue(ctx context.Context) (int, error) {
	due, err := many(ctx, s.deps.Pool, "find the domains to check", "SELECT "+columns+` FROM tenant_domains WHERE next_check_at <= $1
		AND NOT EXISTS (SELECT FROM tenants WHERE id = tenant_id AND state IN ('deleting', 'deleted')) ORDER BY next_check_at LIMIT $2`,
		s.now(), checksPerRun)
	if err != nil {
		return 0, err
	}
	var g errgroup.Group
	g.SetLimit(checksAtOnce)
	failures := make([]error, len(due))
	for i, d := range due {
		g.Go(func() error {
			_, err := s.check(ctx, accounts.System(), netip.Addr{}, d)
			if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrExpired) { // given up meanwhile, or now
				failures[i] = wrap(err, "check domain "+d.Name)
			}
			return nil
		})
	}
	failures = append(failures, g.Wait())
	return len(due), errors.Join(failures...)
}

// check asks the DNS, with no transaction open, and then writes what follows.
func (s *Service) check(ctx context.Context, p accounts.Principal, ip netip.Addr, d Domain) (Domain, error) {
	t, err := s.deps.Tenants.ByID(ctx, d.TenantID)
	if err != nil {
		return d, err
	}
	v := judge(d, s.look(ctx, d), s.ours(ctx, t))
	if err := ctx.Err(); err != nil {
		return d, err
	}
	kept := false
	err = postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		a := application{Service: s, tx: tx, by: p, ip: ip, at: s.now()}
		d, kept, err = a.apply(ctx, d, v)
		return err
	})
	if err == nil && !kept {
		err = ErrExpired
	}
	return d, err
}

// next is when a domain is looked at again: a fresh claim often, since its owner waits; one that is proven once a day, at no common hour.
func (d Domain) next(now time.Time) time.Time {
	const minute, hour = time.Minute, time.Hour
	wait := hour
	switch age := now.Sub(d.CreatedAt); {
	case d.Status == Live && d.ReasonCode == "":
		wait = 24*hour - time.Duration(int64(d.ID)%120)*minute
	case d.Status == Pending && age < hour:
		wait = minute
	case d.Status == Pending && age < 24*hour:
		wait = 10 * minute
	}
	return now.Add(wait)
}
