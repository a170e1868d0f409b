// Package domains lets tenants be reached under domains of their own: claims, their proof by DNS, the re-checks of what was proven, and which of
// them a tenant's links bear. A claim is worth nothing until the domain's own DNS says whose it is; several clients may claim one domain, and
// the first to prove it has it.
package domains

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/net/idna"

	"controlplane/internal/audit"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool     *pgxpool.Pool
	Tenants  *tenants.Service
	Audit    *audit.Log
	Resolver Resolver
	Log      *slog.Logger
	Now      func() time.Time // nil: time.Now
}

// Options tell what is the platform's own.
type Options struct {
	BaseDomain   string        // tenants are <name>.<BaseDomain>; default localhost
	Reserved     []string      // hosts of the platform's elsewhere, its front end's for example
	Addresses    []netip.Addr  // of the edges; none: those that the platform's addresses lead to
	Certified    bool          // only a domain with a certificate can be the primary one: links are https
	NoCA         bool          // there is HTTPS, and nobody who issues certificates for own domains: none can be added
	Authority    string        // the CA as CAA records name it; "": unnamed
	ClaimAge     time.Duration // after which a claim that nobody has proven is dropped, default 7 days
	CheckTimeout time.Duration // of the look-ups for one domain, default 10 s
}

// Service is all that may be done to tenants' own domains. What it keeps in memory may be lost: any number of replicas may run.
type Service struct {
	deps     Deps
	opts     Options
	reserved map[string]bool
	idna     *idna.Profile

	mu    sync.Mutex
	known knownAddresses
}

// What callers are told. The first three texts are the earlier API's.
var (
	ErrBadDomain    = errs.New(errs.Malformed, "invalid_domain", "Invalid domain format")
	ErrAlreadyAdded = errs.New(errs.Malformed, "domain_already_added", "Domain already added")
	ErrInUse        = errs.New(errs.Malformed, "domain_in_use", "Domain is already in use")
	ErrNotFound     = errs.New(errs.NotFound, "domain_not_found", "Domain not found")
	ErrTooMany      = errs.New(errs.Conflict, "too_many_domains", "The plan has no room for another domain")
	ErrConflict     = errs.New(errs.Conflict, "state_conflict", "Domains can be added to a client that is active or suspended")
	ErrExpired      = errs.New(errs.NotFound, "domain_claim_expired", "Nobody has proven this domain in time, so it has been dropped; it can be added again")
	ErrNoCA         = errs.New(errs.Unavailable, "domains_unavailable", "Own domains can't be added: this platform has no certificate authority for them")
	ErrNotLive      = errs.New(errs.Conflict, "domain_not_live", "Only a domain that is live can be the primary one")

	ErrNoCertificate = errs.New(errs.Conflict, "domain_without_certificate",
		"There is no certificate for this domain yet, so that links to it would fail; the list of domains says why")
)

// New checks the options; it reaches for nothing.
func New(deps Deps, opts Options) (*Service, error) {
	if deps.Pool == nil || deps.Tenants == nil || deps.Audit == nil || deps.Resolver == nil || deps.Log == nil {
		return nil, errors.New("own domains lack a dependency")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	opts.BaseDomain = strings.ToLower(strings.Trim(cmp.Or(opts.BaseDomain, "localhost"), ". "))
	opts.ClaimAge = cmp.Or(opts.ClaimAge, 7*24*time.Hour)
	opts.CheckTimeout = cmp.Or(opts.CheckTimeout, 10*time.Second)
	s := &Service{deps: deps, opts: opts, reserved: map[string]bool{}, idna: profile()}
	for _, host := range opts.Reserved {
		s.reserved[strings.ToLower(strings.Trim(host, ". "))] = true
	}
	for i, a := range opts.Addresses {
		if !a.IsValid() {
			return nil, fmt.Errorf("edge address %d is none", i)
		}
		opts.Addresses[i] = a.Unmap()
	}
	return s, nil
}

// now has PostgreSQL's resolution, so that what is returned equals what is read back.
func (s *Service) now() time.Time { return s.deps.Now().UTC().Truncate(time.Microsecond) }

func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
