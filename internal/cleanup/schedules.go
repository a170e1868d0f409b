package cleanup

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres"
)

// Schedule is when a sweep runs and how it went last.
type Schedule struct {
	Name         string
	Description  string
	Cron         string
	DefaultCron  string // what Cron is until an admin changes it
	Jitter       time.Duration
	Enabled      bool
	NextRun      time.Time
	RequestedAt  *time.Time // by RunNow, and no worker has begun yet
	RunningSince *time.Time
	LastRun      *time.Time // when the last run that ended began
	LastStatus   string     // "ok", "failed", or "" before the first
	LastError    string     // for operators
	LastResult   *Result
	LastDuration time.Duration

	token int64 // of the latest run
}

const scheduleColumns = `name, description, cron, default_cron, jitter_ms, enabled, next_run, requested_at, running_since, last_run,
	coalesce(last_status, ''), coalesce(last_error, ''), last_result, coalesce(last_duration_ms, 0), run_token`

func scanSchedule(row pgx.CollectableRow) (Schedule, error) {
	var (
		c            Schedule
		jitter, took int64
	)
	err := row.Scan(&c.Name, &c.Description, &c.Cron, &c.DefaultCron, &jitter, &c.Enabled, &c.NextRun, &c.RequestedAt, &c.RunningSince,
		&c.LastRun, &c.LastStatus, &c.LastError, &c.LastResult, &took, &c.token)
	c.Jitter, c.LastDuration = time.Duration(jitter)*time.Millisecond, time.Duration(took)*time.Millisecond
	return c, err
}

func schedulesWhere(ctx context.Context, q postgres.Querier, where string, args ...any) ([]Schedule, error) {
	rows, err := q.Query(ctx, "SELECT "+scheduleColumns+" FROM schedules "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read the schedules: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanSchedule)
	if err != nil {
		return nil, fmt.Errorf("read the schedules: %w", err)
	}
	return list, nil
}

func oneSchedule(ctx context.Context, q postgres.Querier, name, lock string) (Schedule, error) {
	list, err := schedulesWhere(ctx, q, "WHERE name = $1 "+lock, name)
	if err != nil {
		return Schedule{}, err
	}
	if len(list) == 0 {
		return Schedule{}, ErrNotFound
	}
	return list[0], nil
}

// List returns all schedules by name. There are none before a worker has led for the first time. Errors: ErrAdminOnly.
func (s *Service) List(ctx context.Context, p accounts.Principal) ([]Schedule, error) {
	if !p.Admin {
		return nil, ErrAdminOnly
	}
	return schedulesWhere(ctx, s.deps.Pool, "ORDER BY name")
}

// UpdateInput is what an admin may change of a schedule; nil leaves it as it is.
type UpdateInput struct {
	Cron    *string // "": the default again
	Enabled *bool
}

// Update changes when a sweep runs. Errors: ErrAdminOnly, ErrNotFound, ErrBadCron.
func (s *Service) Update(ctx context.Context, p accounts.Principal, ip netip.Addr, name string, in UpdateInput) (Schedule, error) {
	if !p.Admin {
		return Schedule{}, ErrAdminOnly
	}
	var changed Schedule
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		before, err := oneSchedule(ctx, tx, name, "FOR UPDATE")
		if err != nil {
			return err
		}
		changed, err = s.change(before, in)
		if err != nil || changed == before {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE schedules SET cron = $2, enabled = $3, next_run = $4, updated_at = now() WHERE name = $1",
			name, changed.Cron, changed.Enabled, changed.NextRun); err != nil {
			return fmt.Errorf("change the schedule: %w", err)
		}
		return s.record(ctx, tx, p, ip, "schedule.update", map[string]any{
			"schedule": name, "before": map[string]any{"cron": before.Cron, "enabled": before.Enabled},
			"after": map[string]any{"cron": changed.Cron, "enabled": changed.Enabled},
		})
	})
	return changed, err
}

// change works out the next time anew, unless nothing changes: one that was due while the schedule was off isn't caught up.
func (s *Service) change(before Schedule, in UpdateInput) (Schedule, error) {
	c := before
	if in.Enabled != nil {
		c.Enabled = *in.Enabled
	}
	if in.Cron != nil {
		c.Cron = *in.Cron
		if c.Cron == "" {
			c.Cron = c.DefaultCron
		}
	}
	if c == before {
		return c, nil
	}
	schedule, err := parse(c.Cron, s.now())
	if err != nil {
		return c, ErrBadCron.WithCause(err)
	}
	c.NextRun = next(schedule, s.now(), c.Jitter)
	return c, nil
}

// RunNow has the leader run a sweep, also one that is switched off, and waits a little for the end. The schedule that it returns
// says how far that got. Errors: ErrAdminOnly, ErrNotFound.
func (s *Service) RunNow(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Schedule, error) {
	if !p.Admin {
		return Schedule{}, ErrAdminOnly
	}
	var before Schedule
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) (err error) {
		if before, err = oneSchedule(ctx, tx, name, "FOR UPDATE"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE schedules SET requested_at = $2 WHERE name = $1", name, s.now()); err != nil {
			return fmt.Errorf("ask for a run: %w", err)
		}
		return s.record(ctx, tx, p, ip, "schedule.run", map[string]any{"schedule": name})
	})
	if err != nil {
		return Schedule{}, err
	}
	return s.await(ctx, before)
}

// await reads the schedule until a run after before has ended, or it takes too long.
func (s *Service) await(ctx context.Context, before Schedule) (Schedule, error) {
	deadline := time.NewTimer(s.opts.RunWait)
	defer deadline.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		now, err := oneSchedule(ctx, s.deps.Pool, before.Name, "")
		if err != nil || now.token > before.token && now.RequestedAt == nil && now.RunningSince == nil {
			return now, err
		}
		select {
		case <-look.C:
		case <-deadline.C:
			return now, nil
		case <-ctx.Done():
			return now, nil
		}
	}
}

func (s *Service) record(ctx context.Context, q postgres.Querier, p accounts.Principal, ip netip.Addr, action string, detail map[string]any) error {
	return s.deps.Audit.RecordTx(ctx, q, audit.Entry{AccountID: int64(p.AccountID), Actor: p.Username, Action: action, IP: ip, Detail: detail})
}
