package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/accounts"
	"controlplane/internal/backup/timing"
	"controlplane/internal/tenants"
)

// PlannerDeps is what a Planner works with; all but Now and Lacking are required.
type PlannerDeps struct {
	Pool    *pgxpool.Pool
	Backups *Service
	Log     *slog.Logger
	Now     func() time.Time // nil: time.Now

	// Lacking says what the hosts have too little of for a trial that takes so much, "" for nothing; nil: there is always enough.
	Lacking func(ctx context.Context, memoryMB, diskMB int64) (string, error)
}

// PlannerOptions say when and for how long; zero values mean the defaults.
type PlannerOptions struct {
	Zone     *time.Location // whose days and nights they are; default UTC
	Parallel int            // scheduled backups that are under way at once, of all clients; default 2
	Poll     time.Duration  // how often TakeDue looks whether one has ended, default 200 ms
	Final    time.Duration  // how long what a deleted client left is kept, default 30 days
	Overdue  time.Duration  // age of the newest good backup of a running client at which somebody is told, default 36 h
	Unproven time.Duration  // age of the newest proven one at which somebody is told, default 8 days

	ProveAtOnce int // trials that are under way at once, of all clients; default 1, at most MostTrials
}

// Planner asks for backups when they are due, lets go of old ones, and tells operators when a client has none that is fresh enough. What
// it does may be cut short and repeated.
type Planner struct {
	deps  PlannerDeps
	opts  PlannerOptions
	night timing.Night
}

// NewPlanner checks the dependencies.
func NewPlanner(deps PlannerDeps, opts PlannerOptions) (*Planner, error) {
	if deps.Pool == nil || deps.Backups == nil || deps.Log == nil {
		return nil, errors.New("the planner of backups lacks a dependency")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	opts.Zone = cmp.Or(opts.Zone, time.UTC)
	opts.Parallel, opts.Poll = cmp.Or(opts.Parallel, 2), cmp.Or(opts.Poll, 200*time.Millisecond)
	opts.Final, opts.Overdue = cmp.Or(opts.Final, 30*24*time.Hour), cmp.Or(opts.Overdue, 36*time.Hour)
	opts.Unproven = cmp.Or(opts.Unproven, 8*24*time.Hour)
	opts.ProveAtOnce = min(cmp.Or(opts.ProveAtOnce, 1), MostTrials)
	return &Planner{deps: deps, opts: opts, night: timing.DefaultNight(opts.Zone)}, nil
}

// candidate is a tenant that is backed up from time to time, and what is known of its backups.
type candidate struct {
	id        tenants.ID
	since     time.Time
	hourly    bool // its plan has copies of the database every hour
	changed   bool // since its last full backup
	daily     timing.History
	hourlies  timing.History
	last      *time.Time // when the newest good full backup ended
	lastBegan *time.Time
	first     *time.Time // when the first full backup ended, also one that is long gone
	proven    *time.Time
	unproven  *time.Time // when a trial failed last, of what there still is
}

// Only what was used since its last backup can differ from it: a tenant that doesn't run changes nothing.
const candidateSQL = `
	SELECT t.id, t.activated_at, p.backup_frequency = 'hourly',
		full_one.finished_at, full_one.started_at,
		(` + firstSQL + `), (` + provenSQL + `),
		(SELECT max(b.proof_failed_at) FROM backups b WHERE b.tenant_id = t.id AND b.state = 'done'),
		t.state = 'active' OR full_one.started_at IS NULL OR EXISTS (SELECT FROM tenant_events e
			WHERE e.tenant_id = t.id AND e.at >= full_one.started_at AND 'active' IN (e.from_state, e.to_state)),
		daily.started_at, daily_asked.created_at, any_one.started_at, hourly_asked.created_at
	FROM tenants t JOIN plans p ON p.id = t.plan_id
	LEFT JOIN LATERAL (SELECT b.started_at, b.finished_at FROM backups b WHERE b.tenant_id = t.id AND b.kind NOT IN ('hourly', 'imported') AND b.state = 'done'
		AND b.broken_at IS NULL ORDER BY b.started_at DESC LIMIT 1) full_one ON true
	LEFT JOIN LATERAL (SELECT b.started_at FROM backups b WHERE b.tenant_id = t.id AND b.kind = 'daily' AND b.verified_at IS NOT NULL
		AND b.broken_at IS NULL ORDER BY b.created_at DESC LIMIT 1) daily ON true
	LEFT JOIN LATERAL (SELECT b.created_at FROM backups b WHERE b.tenant_id = t.id AND b.kind = 'daily'
		ORDER BY b.created_at DESC LIMIT 1) daily_asked ON true
	LEFT JOIN LATERAL (SELECT b.started_at FROM backups b WHERE b.tenant_id = t.id AND b.kind <> 'imported' AND b.state = 'done' AND b.broken_at IS NULL
		ORDER BY b.started_at DESC LIMIT 1) any_one ON true
	LEFT JOIN LATERAL (SELECT b.created_at FROM backups b WHERE b.tenant_id = t.id AND b.kind = 'hourly'
		ORDER BY b.created_at DESC LIMIT 1) hourly_asked ON true
	WHERE t.state IN ('active', 'suspended', 'sleeping', 'scheduled_for_deletion', 'maintenance') AND t.activated_at IS NOT NULL`

func scanCandidate(row pgx.CollectableRow) (candidate, error) {
	var c candidate
	var daily, dailyAsked, anyOne, hourlyAsked *time.Time
	err := row.Scan(&c.id, &c.since, &c.hourly, &c.last, &c.lastBegan, &c.first, &c.proven, &c.unproven, &c.changed,
		&daily, &dailyAsked, &anyOne, &hourlyAsked)
	at := func(t *time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return *t
	}
	c.daily = timing.History{Since: c.since, Covered: at(daily), Tried: at(dailyAsked)}
	c.hourlies = timing.History{Since: c.since, Covered: at(anyOne), Tried: at(hourlyAsked)}
	return c, err
}

func (p *Planner) candidates(ctx context.Context, where string, args ...any) ([]candidate, error) {
	rows, err := p.deps.Pool.Query(ctx, candidateSQL+" AND "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read what is known of the clients' backups: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanCandidate)
	if err != nil {
		return nil, fmt.Errorf("read what is known of the clients' backups: %w", err)
	}
	return list, nil
}

// dueKind says what c needs now: a full backup comes before a copy of the database.
func (p *Planner) dueKind(c candidate, now time.Time) (Kind, bool) {
	switch {
	case !c.changed:
		return "", false
	case timing.Due(p.night.Daily(int64(c.id)), c.daily, now):
		return Daily, true
	case c.hourly && timing.Due(timing.Hourly(int64(c.id)), c.hourlies, now):
		return Hourly, true
	}
	return "", false
}

// TakeDue asks for the backups that are due, a few at a time, until none is or ctx ends. It returns how many it asked for.
func (p *Planner) TakeDue(ctx context.Context) (asked int, err error) {
	look := time.NewTicker(p.opts.Poll)
	defer look.Stop()
	for {
		n, left, err := p.takeSome(ctx)
		asked += n
		if err != nil || left == 0 {
			return asked, err
		}
		select {
		case <-ctx.Done():
			return asked, nil // the next run goes on
		case <-look.C:
		}
	}
}

// takeSome asks for as many as there is room for, and returns how many are left to be asked for. Who was asked for longest ago comes first: what
// always fails, and may take long at it on purpose, would be before all others if only what is good counted.
func (p *Planner) takeSome(ctx context.Context) (asked, left int, err error) {
	room, err := p.room(ctx)
	if err != nil {
		return 0, 0, err
	}
	if room == 0 { // all clients are looked at only when there is
		return 0, 1, nil
	}
	idle, err := p.candidates(ctx, `t.state <> 'maintenance' AND NOT EXISTS
		(SELECT FROM backups b WHERE b.tenant_id = t.id AND b.state IN ('queued', 'running'))
		ORDER BY greatest(any_one.started_at, daily_asked.created_at, hourly_asked.created_at) NULLS FIRST`)
	if err != nil {
		return 0, 0, err
	}
	now := p.deps.Now()
	for _, c := range idle {
		kind, due := p.dueKind(c, now)
		if !due {
			continue
		}
		if asked >= room {
			left++
			continue
		}
		_, err := p.deps.Backups.Take(ctx, TakeInput{TenantID: c.id, Kind: kind, By: accounts.System().Username})
		switch {
		case errors.Is(err, ErrBusy), errors.Is(err, ErrNothingThere), errors.Is(err, tenants.ErrNotFound): // things changed meanwhile
		case err != nil:
			return asked, left, fmt.Errorf("ask for the %s backup of tenant %s: %w", kind, c.id, err)
		default:
			asked++
		}
	}
	return asked, left, nil
}

// room is how many scheduled backups may begin. What people ask for neither waits for it nor counts.
func (p *Planner) room(ctx context.Context) (int, error) {
	var live int
	err := p.deps.Pool.QueryRow(ctx, "SELECT count(*) FROM backups WHERE state IN ('queued', 'running') AND kind IN ('daily', 'hourly')").Scan(&live)
	if err != nil {
		return 0, fmt.Errorf("count the backups under way: %w", err)
	}
	return max(0, p.opts.Parallel-live), nil
}

// Outlook is what an owner sees of a client's backups as a whole.
type Outlook struct {
	Last   *time.Time // when the newest full backup that is good ended
	Proven *time.Time // when one was restored last and Odoo answered on it
	Next   *time.Time // when the next is due; nil: not before something changes

	ProofFailed *time.Time // when a trial failed last, unless one has succeeded since
}

// Outlooks returns those of the tenants that are ever backed up.
func (p *Planner) Outlooks(ctx context.Context, ids []tenants.ID) (map[tenants.ID]Outlook, error) {
	list, err := p.candidates(ctx, "t.id = ANY($1)", ids)
	if err != nil {
		return nil, err
	}
	now := p.deps.Now()
	out := make(map[tenants.ID]Outlook, len(list))
	for _, c := range list {
		o := Outlook{Last: c.last, Proven: c.proven}
		if c.unproven != nil && (c.proven == nil || c.unproven.After(*c.proven)) {
			o.ProofFailed = c.unproven
		}
		if c.changed {
			o.Next = new(p.next(c, now))
		}
		out[c.id] = o
	}
	return out, nil
}

// next is the time of the next backup of any kind. One that is due is taken as soon as there is room.
func (p *Planner) next(c candidate, now time.Time) time.Time {
	if _, due := p.dueKind(c, now); due {
		return now.UTC()
	}
	at := p.night.Daily(int64(c.id)).Next(now)
	if c.hourly {
		if soon := timing.Hourly(int64(c.id)).Next(now); soon.Before(at) {
			at = soon
		}
	}
	return at.UTC()
}
