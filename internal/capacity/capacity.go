// Package capacity knows what the hosts have, what of it is used and what is promised to clients, and says before money is taken whether
// another client fits. Workers measure; any process may ask.
package capacity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/alerts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// ErrFull is returned when there is no room; what there is too little of is in its cause.
var ErrFull = errs.New(errs.Unavailable, "capacity_full",
	"We are out of room for a new client of this plan, so nothing was charged. Our staff have been told; please try again later.")

// The kinds of alert that are raised here. The subject of the first is "plan/<id>", of the others "host".
const (
	AlertFull  = "capacity.full"  // somebody wanted to pay for a plan that there is no room for
	AlertStale = "capacity.stale" // no worker has measured for a while
)

const (
	hostSubject = "host"
	retryAfter  = time.Hour
)

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool    *pgxpool.Pool
	Tenants *tenants.Service
	Now     func() time.Time // nil: time.Now
}

// Options say how much more may be promised than there is: few clients use all of their plan at the same time. Zero means the default.
type Options struct {
	MemoryOvercommit      float64       // default 3
	CPUOvercommit         float64       // default 16
	DiskOvercommit        float64       // default 4
	ConnectionsOvercommit float64       // default 3
	MaxUsedPercent        float64       // of memory, disk and connections as measured, above which nothing is sold; default 90
	StaleAfter            time.Duration // when a measurement says no longer what is used; default 10 min
	CheckoutHold          time.Duration // how long an open checkout counts as promised; default 1 h
}

// Service answers from the platform's database. It holds no state: any number of replicas may run.
type Service struct {
	pool    *pgxpool.Pool
	tenants *tenants.Service
	clock   func() time.Time
	opts    Options
}

// New returns a Service.
func New(deps Deps, opts Options) *Service {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	opts.MemoryOvercommit = cmp.Or(opts.MemoryOvercommit, 3)
	opts.CPUOvercommit = cmp.Or(opts.CPUOvercommit, 16)
	opts.DiskOvercommit = cmp.Or(opts.DiskOvercommit, 4)
	opts.ConnectionsOvercommit = cmp.Or(opts.ConnectionsOvercommit, 3)
	opts.MaxUsedPercent = cmp.Or(opts.MaxUsedPercent, 90)
	opts.StaleAfter = cmp.Or(opts.StaleAfter, 10*time.Minute)
	opts.CheckoutHold = cmp.Or(opts.CheckoutHold, time.Hour)
	return &Service{pool: deps.Pool, tenants: deps.Tenants, clock: deps.Now, opts: opts}
}

func (s *Service) now() time.Time { return s.clock().UTC().Truncate(time.Microsecond) }

// Check says whether the client can have the plan: ErrFull if not. What the client has now, if anything, isn't counted.
//
// What is promised is judged against what the hosts have, whenever that was measured: hosts don't shrink, so a full one is still full when
// no worker has looked for long. What is used is only judged while a measurement is fresh, so that a platform whose workers
// are down goes on selling; an alert then says so. Before the first measurement there is nothing to judge by, and room is assumed. Two
// checkouts at the same moment may both get the last place, which is what the share below 100 percent is for.
func (s *Service) Check(ctx context.Context, id tenants.ID, planID string) error {
	plan, err := s.tenants.Plan(ctx, planID)
	if err != nil {
		return fmt.Errorf("find the plan to make room for: %w", err)
	}
	have, err := s.latest(ctx)
	if err != nil {
		return err
	}
	if have.stale(s.now(), s.opts.StaleAfter) {
		const text = "No worker has measured the hosts lately: new clients are sold by what is promised alone."
		if err := alerts.Raise(ctx, s.pool, alerts.Alert{Kind: AlertStale, Subject: hostSubject, Message: text}); err != nil {
			return err
		}
	}
	promised, err := s.promised(ctx, id)
	if err != nil {
		return err
	}
	lacking := s.opts.judge(have, promised.plus(demandOf(plan)), s.now())
	if len(lacking) == 0 {
		return nil
	}
	cause := errors.New(strings.Join(lacking, "; "))
	message := fmt.Sprintf("A client of plan %s was turned away before paying: %v.", plan.ID, cause)
	if err := alerts.Raise(ctx, s.pool, alerts.Alert{Kind: AlertFull, Subject: planSubject(plan.ID), Message: message}); err != nil {
		return err
	}
	return ErrFull.WithCause(cause).WithRetryAfter(retryAfter)
}

func planSubject(planID string) string { return "plan/" + planID }

// Review closes the alerts about plans that there is room for again.
func (s *Service) Review(ctx context.Context) error {
	have, err := s.latest(ctx)
	if err != nil {
		return err
	}
	promised, err := s.promised(ctx, 0)
	if err != nil {
		return err
	}
	plans, err := s.tenants.Plans(ctx)
	if err != nil {
		return err
	}
	for _, plan := range plans {
		if len(s.opts.judge(have, promised.plus(demandOf(plan)), s.now())) > 0 {
			continue
		}
		if err := alerts.Resolve(ctx, s.pool, AlertFull, planSubject(plan.ID)); err != nil {
			return err
		}
	}
	return nil
}
