package tenants

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
)

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool   *pgxpool.Pool
	Sealer *secrets.Sealer
	Audit  *audit.Log
	Ops    *ops.Engine      // enqueues what a command asks for; needs no workflow
	Now    func() time.Time // nil: time.Now
}

// Options bound what customers may do.
type Options struct {
	BaseDomain      string        // platform addresses are <name>.<BaseDomain>; default localhost
	MaxUnpaid       int           // unpaid clients per account, default 3
	PaymentDeadline time.Duration // from creation, default 24 h
}

// Service is all that may be done to tenants' rows. What it keeps in memory may be lost: any number of replicas may run.
type Service struct {
	pool            *pgxpool.Pool
	sealer          *secrets.Sealer
	audit           *audit.Log
	ops             *ops.Engine
	clock           func() time.Time
	baseDomain      string
	maxUnpaid       int
	paymentDeadline time.Duration
	counts          counts
}

// New returns a Service.
func New(deps Deps, opts Options) *Service {
	s := &Service{
		pool: deps.Pool, sealer: deps.Sealer, audit: deps.Audit, ops: deps.Ops, clock: deps.Now,
		baseDomain:      strings.ToLower(strings.Trim(cmp.Or(opts.BaseDomain, "localhost"), ". ")),
		maxUnpaid:       cmp.Or(opts.MaxUnpaid, 3),
		paymentDeadline: cmp.Or(opts.PaymentDeadline, 24*time.Hour),
		counts:          counts{known: map[string]*counted{}},
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	return s
}

// now has PostgreSQL's resolution, so that what is returned equals what is read back.
func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

func (s *Service) platformAddress(name string) string { return name + "." + s.baseDomain }

func (s *Service) record(ctx context.Context, tx pgx.Tx, p accounts.Principal, ip netip.Addr, id ID, action string, detail map[string]any) error {
	return s.audit.RecordTx(ctx, tx, audit.Entry{
		AccountID: int64(p.AccountID), Actor: p.Username, TenantID: int64(id), Action: action, IP: ip, Detail: detail,
	})
}

// owned limits a query to the caller's own tenants; admins see all.
func owned(p accounts.Principal) *accounts.ID {
	if p.Admin {
		return nil
	}
	return &p.AccountID
}

func wrap(err error, doing string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}
