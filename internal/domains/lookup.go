package domains

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// Resolver asks the DNS. A name that isn't there has no records, which is no error.
type Resolver interface {
	// TXT returns the texts of a name, following aliases. Errors: ErrNoAnswer, ErrAliases.
	TXT(ctx context.Context, name string) ([]string, error)
	// Addresses returns all A and AAAA of a name, following aliases. Errors: ErrNoAnswer, ErrAliases.
	Addresses(ctx context.Context, name string) ([]netip.Addr, error)
}

// What a Resolver may return.
var (
	ErrNoAnswer = errs.New(errs.Unavailable, "dns_unavailable", "The DNS didn't answer")
	ErrAliases  = errs.New(errs.Conflict, "dns_alias_loop", "The aliases (CNAME) lead in a circle, or there are too many")
)

// found is what the DNS says of a domain at one moment.
type found struct {
	proofs    []string
	addresses []netip.Addr
	err       error // the DNS couldn't be asked, or said nonsense
}

// look asks the DNS, and nothing else.
func (s *Service) look(ctx context.Context, d Domain) found {
	ctx, cancel := context.WithTimeout(ctx, s.opts.CheckTimeout)
	defer cancel()
	var f found
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		f.proofs, err = s.deps.Resolver.TXT(ctx, d.proofName())
		return err
	})
	g.Go(func() (err error) {
		f.addresses, err = s.deps.Resolver.Addresses(ctx, d.Name)
		return err
	})
	f.err = g.Wait()
	return f
}

// knownAddresses are the edges' as they were looked up last.
type knownAddresses struct {
	list []netip.Addr
	at   time.Time
}

const (
	addressesAge     = 5 * time.Minute
	addressesTimeout = 3 * time.Second
)

// ours returns the addresses at which the world reaches the edges: those of the settings, or else what the tenant's platform address leads
// to, which is the same for all of them. Empty means that nobody knows.
func (s *Service) ours(ctx context.Context, t tenants.Tenant) []netip.Addr {
	if len(s.opts.Addresses) > 0 {
		return s.opts.Addresses
	}
	s.mu.Lock()
	known := s.known
	s.mu.Unlock()
	if !known.at.IsZero() && s.now().Sub(known.at) < addressesAge {
		return known.list
	}
	ctx, cancel := context.WithTimeout(ctx, addressesTimeout)
	defer cancel()
	list, err := s.deps.Resolver.Addresses(ctx, t.Domain)
	if err != nil || len(list) == 0 {
		return known.list
	}
	slices.SortFunc(list, netip.Addr.Compare)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = knownAddresses{list: list, at: s.now()}
	return list
}
