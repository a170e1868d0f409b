// Package cleanup does what has to be done again and again: schedules in a table, run by whichever worker leads, and the sweeps they
// call, one file each. Sweeps look for what is due and enqueue; the work itself is done by operations.
package cleanup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/robfig/cron/v3"

	"controlplane/internal/audit"
	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// Result is what a run of a sweep came to.
type Result struct {
	Done   int    `json:"done"`           // things that were due and are done or enqueued
	Failed int    `json:"failed"`         // things that went wrong and are tried again next time
	Note   string `json:"note,omitempty"` // for operators
}

// Sweep is one thing that is done on a schedule. Run may be called again for the same time after its worker died, so it is idempotent.
type Sweep struct {
	Name        string // "unpaid"; stored, never renamed
	Description string // for operators, one line
	Cron        string // five fields in UTC, "@hourly" or "@every 30s"; admins may change it
	Jitter      time.Duration
	AtStart     bool          // also whenever a worker takes the lead
	Timeout     time.Duration // of a run, default 15 minutes
	Run         func(ctx context.Context) (Result, error)
}

// Deps is what a Service works with; all but Now are required.
type Deps struct {
	Pool    *pgxpool.Pool
	Ops     *ops.Engine
	Tenants *tenants.Service
	Money   Money
	Audit   *audit.Log
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now
}

// Options tune a Service; zero values mean the defaults.
type Options struct {
	Tick       time.Duration // how often the leader looks for due rows, default 1 s
	RetryAfter time.Duration // a run that failed is repeated after this, or at its next time if that is sooner; default 5 minutes
	RunWait    time.Duration // how long RunNow waits for the end of the run, default 5 s
}

// Service keeps the schedules and, in a worker that leads, runs what is due.
type Service struct {
	deps   Deps
	opts   Options
	sweeps map[string]Sweep
	names  []string // of sweeps, in the order of their registration
}

// What callers are told.
var (
	ErrAdminOnly = errs.New(errs.Forbidden, "admin_only", "Admin access required")
	ErrNotFound  = errs.New(errs.NotFound, "schedule_not_found", "Schedule not found")
	ErrBadCron   = errs.InvalidField("cron", "invalid", "cron must be five fields (minute hour day month weekday), or something like @hourly or @every 10m.")
)

// New returns a Service. Its sweeps are registered before the operations engine starts.
func New(deps Deps, opts Options) *Service {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	opts.Tick = cmp.Or(opts.Tick, time.Second)
	opts.RetryAfter = cmp.Or(opts.RetryAfter, 5*time.Minute)
	opts.RunWait = cmp.Or(opts.RunWait, 5*time.Second)
	return &Service{deps: deps, opts: opts, sweeps: map[string]Sweep{}}
}

// Add registers sweeps. One that can't be told from another, or whose time can't be understood, is a programming error and panics.
func (s *Service) Add(sweeps ...Sweep) {
	for _, w := range sweeps {
		if _, ok := s.sweeps[w.Name]; ok || w.Name == "" || w.Run == nil {
			panic("cleanup: sweep " + w.Name + " is registered twice or incomplete")
		}
		if _, err := parse(w.Cron, s.now()); err != nil {
			panic("cleanup: sweep " + w.Name + ": " + err.Error())
		}
		w.Timeout = cmp.Or(w.Timeout, 15*time.Minute)
		s.sweeps[w.Name] = w
		s.names = append(s.names, w.Name)
	}
}

// Register has the operations engine call the schedules in the worker that leads.
func (s *Service) Register() { s.deps.Ops.Every("schedules", s.opts.Tick, s.lead) }

// now has PostgreSQL's resolution, so that what is returned equals what is read back.
func (s *Service) now() time.Time { return s.deps.Now().UTC().Truncate(time.Microsecond) }

var (
	errNever = errors.New("such a time never comes")
	errZone  = errors.New("times are in UTC")
)

// parse understands an expression whose time comes at least once more. Zones are refused: another worker may not have them, and the
// library panics at one without fields behind it.
func parse(expression string, now time.Time) (cron.Schedule, error) {
	if strings.Contains(expression, "TZ=") {
		return nil, errZone
	}
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fmt.Errorf("parse %q: %w", expression, err)
	}
	if schedule.Next(now).IsZero() {
		return nil, errNever
	}
	return schedule, nil
}

// next is the time after now, a little later by chance, so that not everything comes at the full hour.
func next(schedule cron.Schedule, now time.Time, jitter time.Duration) time.Time {
	at := schedule.Next(now)
	if jitter > 0 {
		at = at.Add(rand.N(jitter)) //nolint:gosec // spread, not a secret
	}
	return at.Truncate(time.Microsecond)
}
