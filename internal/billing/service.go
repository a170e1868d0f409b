package billing

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/audit"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// Provisioner starts the making of a paid tenant. A tenant that is being made already is ops.ErrLive, and tx stays usable.
type Provisioner interface {
	EnqueueTx(ctx context.Context, tx pgx.Tx, id tenants.ID) error
}

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool        *pgxpool.Pool
	Tenants     *tenants.Service
	Ops         *ops.Engine
	Gateway     Gateway
	Provisioner Provisioner
	Audit       *audit.Log
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
}

// Options are what the installation decides. Zero values mean the defaults below.
type Options struct {
	CallbackURL    string        // absolute, without query: where the browser goes after paying
	GatewayTimeout time.Duration // how long a user waits for the gateway at most, default 12 s
	CloseAfter     time.Duration // how long an unpaid reference is looked at, default 72 h
	PollInterval   time.Duration // default 5 s
	PollBatch      int           // references per look, default 20
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
	opts.GatewayTimeout = cmp.Or(opts.GatewayTimeout, 12*time.Second)
	opts.CloseAfter = cmp.Or(opts.CloseAfter, 72*time.Hour)
	opts.PollInterval = cmp.Or(opts.PollInterval, 5*time.Second)
	opts.PollBatch = cmp.Or(opts.PollBatch, 20)
	return &Service{deps: deps, opts: opts}
}

// Register adds to the operations engine the workflow that applies events, the poller of unfinished payments, the search for paid
// clients that nobody is making, and the sweep of old work.
func (s *Service) Register() {
	s.deps.Ops.Register(s.eventWorkflow())
	s.deps.Ops.Every("billing.poll", s.opts.PollInterval, s.Poll)
	s.deps.Ops.Every("billing.resume_provisioning", 30*time.Second, s.ResumeProvisioning)
	s.deps.Ops.Every("billing.forget_applied", time.Hour, s.ForgetApplied)
}

// now has PostgreSQL's resolution, so that what is returned equals what is read back.
func (s *Service) now() time.Time { return s.deps.Now().UTC().Truncate(time.Microsecond) }
