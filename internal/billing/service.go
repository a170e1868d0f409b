package billing

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/audit"
	"controlplane/internal/invoicing"
	"controlplane/internal/ops"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Provisioner starts the making of a paid tenant. A tenant that is being made already is ops.ErrLive, and tx stays usable.
type Provisioner interface {
	EnqueueTx(ctx context.Context, tx pgx.Tx, id tenants.ID) error
}

// Capacity says whether there is room for a client of a plan, and if not why in an error that the payer may read.
type Capacity interface {
	Check(ctx context.Context, id tenants.ID, planID string) error
}

// Deps is what a Service works with; all but Invoices, Capacity and Now are required.
type Deps struct {
	Pool        *pgxpool.Pool
	Tenants     *tenants.Service
	Ops         *ops.Engine
	Gateway     Gateway
	Provisioner Provisioner
	Audit       *audit.Log
	Invoices    *invoicing.Service // nil: an unnamed seller's
	Log         *slog.Logger
	Capacity    Capacity         // nil: there is always room
	Now         func() time.Time // nil: time.Now
	Sealer      *secrets.Sealer  // for saved cards; nil: none is saved, and owners pay by links
}

// Options are what the installation decides. Zero values mean the defaults below.
type Options struct {
	CallbackURL    string        // absolute, without query: where the browser goes after paying
	GatewayTimeout time.Duration // how long a user waits for the gateway at most, default 12 s
	CloseAfter     time.Duration // how long an unpaid reference is looked at, default 72 h
	ChargeWait     time.Duration // how long dunning waits for a charge of a saved card whose bank doesn't decide, default 12 h; see readAttempts
	PollBatch      int           // references per look, default 20
	AtOnce         int           // payments and subscriptions that are worked on at the same time, default 4
	Dunning        Dunning
	RunGap         time.Duration // when Renew didn't run for longer, the time doesn't count against customers; default 1 h
}

// Service is all that may be done to payments. It holds no state: any number of replicas may run.
type Service struct {
	deps Deps
	opts Options
}

// New returns a Service. Register it with the operations engine before that starts.
func New(deps Deps, opts Options) *Service {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Invoices == nil {
		deps.Invoices = invoicing.New(invoicing.Deps{Pool: deps.Pool, Audit: deps.Audit, Now: deps.Now}, invoicing.Options{})
	}
	opts.GatewayTimeout = cmp.Or(opts.GatewayTimeout, 12*time.Second)
	opts.CloseAfter = cmp.Or(opts.CloseAfter, 72*time.Hour)
	opts.ChargeWait = cmp.Or(opts.ChargeWait, 12*time.Hour)
	opts.PollBatch = cmp.Or(opts.PollBatch, 20)
	opts.AtOnce = cmp.Or(opts.AtOnce, 4)
	opts.RunGap = cmp.Or(opts.RunGap, time.Hour)
	opts.Dunning = opts.Dunning.withDefaults()
	s := &Service{deps: deps, opts: opts}
	s.deps.Gateway = watched{Gateway: deps.Gateway, s: s}
	return s
}

// Register adds the workflow that applies events to the operations engine. Poll, ResumeProvisioning and ForgetApplied are to be called
// again and again, by whoever keeps schedules.
func (s *Service) Register() { s.deps.Ops.Register(s.eventWorkflow()) }

// now has PostgreSQL's resolution, so that what is returned equals what is read back.
func (s *Service) now() time.Time { return s.deps.Now().UTC().Truncate(time.Microsecond) }
