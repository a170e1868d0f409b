package invoicing

import (
	"cmp"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/audit"
)

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool  *pgxpool.Pool
	Audit *audit.Log
	Now   func() time.Time // nil: time.Now
}

// Options are who sells and how. A Seller without a country is in Nigeria.
type Options struct {
	Seller           Party
	PricesExcludeTax bool           // default: what a plan costs is what is charged
	Location         *time.Location // in which a year begins and days are named; default UTC
	Logo             []byte         // PNG or JPEG; default: the seller's name
}

// Service issues invoices and shows them. It holds no state: any number of replicas may run.
type Service struct {
	deps Deps
	opts Options
}

// New returns a Service.
func New(deps Deps, opts Options) *Service {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if opts.Location == nil {
		opts.Location = time.UTC
	}
	opts.Seller.Country = cmp.Or(opts.Seller.Country, "NG")
	return &Service{deps: deps, opts: opts}
}

// now has PostgreSQL's resolution, so that what is returned equals what is read back.
func (s *Service) now() time.Time { return s.deps.Now().UTC().Truncate(time.Microsecond) }

// today is the day where the seller is.
func (s *Service) today() time.Time { return s.deps.Now().In(s.opts.Location) }
