package cleanup

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/postgres"
)

const (
	writeTimeout   = 10 * time.Second
	maxErrorLength = 4000
)

// lead runs what is due until ctx, which is the time of this worker's leadership, ends. A run that its end cuts short stays marked
// as running, and by that the next leader sees that it has to be done again.
func (s *Service) lead(ctx context.Context) error {
	leader := rand.Text()
	if err := s.sync(ctx); err != nil {
		return err
	}
	var runs sync.WaitGroup
	defer runs.Wait()
	tick := time.NewTicker(s.opts.Tick)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := s.runDue(ctx, leader, &runs); err != nil && ctx.Err() == nil {
			s.deps.Log.WarnContext(ctx, "due schedules can't be looked for", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// sync brings the table in line with the sweeps of this process: new ones are added, and what an admin changed is kept.
func (s *Service) sync(ctx context.Context) error {
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		for _, name := range s.names {
			if err := s.syncOne(ctx, tx, s.sweeps[name]); err != nil {
				return fmt.Errorf("keep the schedule of %s: %w", name, err)
			}
		}
		return nil
	})
}

func (s *Service) syncOne(ctx context.Context, tx pgx.Tx, w Sweep) error {
	schedule, err := parse(w.Cron, s.now())
	if err != nil {
		return err
	}
	at := next(schedule, s.now(), w.Jitter)
	if w.AtStart {
		at = s.now()
	}
	_, err = tx.Exec(ctx, `
		INSERT INTO schedules AS c (name, description, cron, default_cron, jitter_ms, next_run) VALUES ($1, $2, $3, $3, $4, $5)
		ON CONFLICT (name) DO UPDATE SET description = $2, default_cron = $3, jitter_ms = $4,
			cron = CASE WHEN c.cron = c.default_cron THEN $3 ELSE c.cron END,
			next_run = CASE WHEN $6 OR c.cron = c.default_cron AND c.cron <> $3 THEN least(c.next_run, $5) ELSE c.next_run END`,
		w.Name, w.Description, w.Cron, w.Jitter.Milliseconds(), at, w.AtStart)
	return err
}

// runDue begins the runs whose time has come, that were asked for, or that another leader didn't finish.
func (s *Service) runDue(ctx context.Context, leader string, runs *sync.WaitGroup) error {
	due, err := schedulesWhere(ctx, s.deps.Pool, `
		WHERE name = ANY($1) AND (running_by IS NULL AND (enabled AND next_run <= $2 OR requested_at IS NOT NULL) OR running_by <> $3)
		ORDER BY next_run`, s.names, s.now(), leader)
	if err != nil {
		return err
	}
	var failures []error
	for _, c := range due {
		claimed, err := s.claim(ctx, leader, &c)
		failures = append(failures, err) // one that can't be claimed doesn't stop the others
		if claimed {
			runs.Go(func() { s.run(ctx, c) })
		}
	}
	return errors.Join(failures...)
}

// claim makes a run ours. Its next time is worked out from now, so that times which were missed are made up for once.
func (s *Service) claim(ctx context.Context, leader string, c *Schedule) (bool, error) {
	now := s.now()
	schedule, err := parse(c.Cron, now)
	if err != nil {
		return false, fmt.Errorf("schedule %s: %w", c.Name, err)
	}
	following := c.NextRun
	if !following.After(now) {
		following = next(schedule, now, c.Jitter)
	}
	tag, err := s.deps.Pool.Exec(ctx, `
		UPDATE schedules SET running_by = $3, running_since = $4, run_token = run_token + 1, next_run = $5, requested_at = NULL
		WHERE name = $1 AND run_token = $2`, c.Name, c.token, leader, now, following)
	if err != nil {
		return false, fmt.Errorf("claim schedule %s: %w", c.Name, err)
	}
	if c.RunningSince != nil {
		s.deps.Log.WarnContext(ctx, "a scheduled run was cut short and is repeated", "schedule", c.Name, "since", *c.RunningSince)
	}
	c.token, c.RunningSince = c.token+1, &now
	return tag.RowsAffected() == 1, nil
}

func (s *Service) run(ctx context.Context, c Schedule) {
	began := time.Now()
	result, err := s.call(ctx, s.sweeps[c.Name])
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.deps.Log.ErrorContext(ctx, "a scheduled run went wrong", "schedule", c.Name, "error", err)
	} else if result.Done+result.Failed > 0 {
		s.deps.Log.InfoContext(ctx, "a scheduled run found work", "schedule", c.Name, "done", result.Done, "failed", result.Failed, "note", result.Note)
	}
	if err := s.finish(ctx, c, result, err, time.Since(began)); err != nil {
		s.deps.Log.ErrorContext(ctx, "the end of a scheduled run can't be written", "schedule", c.Name, "error", err)
	}
}

var errPanic = errors.New("panic")

func (s *Service) call(ctx context.Context, w Sweep) (result Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, v, debug.Stack())
		}
	}()
	return w.Run(ctx)
}

// finish writes how a run ended, unless someone else has taken it over. When the database is away it tries until it is back: else
// the row would stay marked as running.
func (s *Service) finish(ctx context.Context, c Schedule, result Result, failure error, took time.Duration) error {
	text, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	status, message, retry := "ok", "", (*time.Time)(nil)
	if failure != nil {
		again := s.now().Add(s.opts.RetryAfter)
		status, message, retry = "failed", shorten(failure.Error()), &again
	}
	for {
		if err = s.write(ctx, c, status, message, text, took, retry); err == nil || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.opts.Tick):
		}
	}
}

func (s *Service) write(ctx context.Context, c Schedule, status, message string, result []byte, took time.Duration, retry *time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := s.alert(ctx, c, status, message); err != nil {
		return err
	}
	_, err := s.deps.Pool.Exec(ctx, `
		UPDATE schedules SET running_by = NULL, running_since = NULL, last_run = $3, last_status = $4, last_error = NULLIF($5, ''),
			last_result = $6, last_duration_ms = $7, next_run = least(next_run, coalesce($8, next_run)), updated_at = now()
		WHERE name = $1 AND run_token = $2`, c.Name, c.token, c.RunningSince, status, message, result, took.Milliseconds(), retry)
	if err != nil {
		return fmt.Errorf("write schedule %s: %w", c.Name, err)
	}
	return nil
}

// alertKind is raised for a schedule that failed twice running: once may be an outage of a moment.
const alertKind = "schedule.failed"

func (s *Service) alert(ctx context.Context, c Schedule, status, message string) error {
	switch {
	case c.LastStatus != "failed":
		return nil
	case status == "failed":
		return alerts.Raise(ctx, s.deps.Pool, alerts.Alert{Kind: alertKind, Subject: "schedule/" + c.Name, Message: message})
	}
	return alerts.Resolve(ctx, s.deps.Pool, alertKind, "schedule/"+c.Name)
}

func shorten(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text[:min(len(text), maxErrorLength)], ""), "\x00", "")
}
