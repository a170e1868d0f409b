package cleanup_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/cleanup"
)

// counter is a sweep that counts its runs.
type counter struct{ runs atomic.Int32 }

func (c *counter) sweep(name, cron string) cleanup.Sweep {
	return cleanup.Sweep{Name: name, Description: "Counts", Cron: cron, Run: func(context.Context) (cleanup.Result, error) {
		return cleanup.Result{Done: int(c.runs.Add(1))}, nil
	}}
}

func (b *bundle) schedule(s *cleanup.Service, name string) cleanup.Schedule {
	b.t.Helper()
	list, err := s.List(b.t.Context(), b.admin)
	require.NoError(b.t, err)
	for _, c := range list {
		if c.Name == name {
			return c
		}
	}
	return cleanup.Schedule{}
}

// ran waits until the sweep has ended n times and stays there.
func (b *bundle) ran(c *counter, n int32) {
	b.t.Helper()
	b.eventually(func() bool { return c.runs.Load() >= n && b.count(`schedules WHERE running_by IS NOT NULL`) == 0 })
	require.Never(b.t, func() bool { return c.runs.Load() != n }, 100*time.Millisecond, 10*time.Millisecond)
}

func TestLead_RunsOncePerTimeOnTwoReplicas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var c counter
	s := b.started(c.sweep("hourly", "0 * * * *"))
	b.started(c.sweep("hourly", "0 * * * *"))
	b.eventually(func() bool { return b.schedule(s, "hourly").Name != "" })
	first := b.schedule(s, "hourly")
	require.Equal(t, time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC), first.NextRun.UTC())
	require.Nil(t, first.LastRun)
	b.ran(&c, 0)

	b.advance(time.Hour)
	b.ran(&c, 1)
	after := b.schedule(s, "hourly")
	require.Equal(t, "ok", after.LastStatus)
	require.Equal(t, &cleanup.Result{Done: 1}, after.LastResult)
	require.Equal(t, time.Date(2026, 3, 1, 14, 0, 0, 0, time.UTC), after.NextRun.UTC())

	b.advance(50 * time.Hour)
	b.ran(&c, 2) // all that was missed is made up for once
}

func TestLead_JitterAndStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var late, first counter
	jittered := late.sweep("late", "0 * * * *")
	jittered.Jitter = 10 * time.Minute
	atStart := first.sweep("first", "0 * * * *")
	atStart.AtStart = true
	s, e := b.service(jittered, atStart)
	require.NoError(t, e.Start(t.Context()))
	b.ran(&first, 1)
	require.WithinRange(t, b.schedule(s, "late").NextRun.UTC(), time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 13, 10, 0, 0, time.UTC))
	b.stop(e)

	b.started(jittered, atStart)
	b.ran(&first, 2)
	require.Zero(t, late.runs.Load())
}

func TestLead_RecordsFailuresAndRepeatsThem(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func() error{
		"error": func() error { return errors.New("the disk is full") },
		"panic": func() error { panic("the disk is full") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			var runs atomic.Int32
			s := b.started(cleanup.Sweep{Name: "hourly", Cron: "0 * * * *", Run: func(context.Context) (cleanup.Result, error) {
				if runs.Add(1) <= 2 {
					return cleanup.Result{Failed: 1}, fail()
				}
				return cleanup.Result{}, nil
			}})
			b.eventually(func() bool { return b.schedule(s, "hourly").Name != "" })
			b.advance(time.Hour)
			b.eventually(func() bool { return b.schedule(s, "hourly").LastStatus == "failed" })
			c := b.schedule(s, "hourly")
			require.Contains(t, c.LastError, "the disk is full")
			require.Equal(t, b.clock().Add(5*time.Minute), c.NextRun.UTC())
			require.Zero(t, b.count(`alerts`))
			b.advance(5 * time.Minute)
			b.eventually(func() bool { return b.count(`alerts WHERE kind = 'schedule.failed' AND resolved_at IS NULL`) == 1 })
			b.eventually(func() bool { return b.schedule(s, "hourly").RunningSince == nil })
			b.advance(5 * time.Minute)
			b.eventually(func() bool { return b.schedule(s, "hourly").LastStatus == "ok" })
			require.Empty(t, b.schedule(s, "hourly").LastError)
			require.EqualValues(t, 3, runs.Load())
			require.Zero(t, b.count(`alerts WHERE resolved_at IS NULL`))
		})
	}
}

func TestLead_ALeaderThatIsStoppedLeavesItsRunToTheNext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var began, ended atomic.Int32
	entered := make(chan struct{}, 2)
	sweep := cleanup.Sweep{Name: "slow", Cron: "0 * * * *", Run: func(ctx context.Context) (cleanup.Result, error) {
		entered <- struct{}{}
		if began.Add(1) == 1 {
			<-ctx.Done()
			return cleanup.Result{}, ctx.Err()
		}
		ended.Add(1)
		return cleanup.Result{}, nil
	}}
	s, first := b.service(sweep)
	require.NoError(t, first.Start(t.Context()))
	b.eventually(func() bool { return b.schedule(s, "slow").Name != "" })
	b.advance(time.Hour)
	<-entered
	next := b.schedule(s, "slow").NextRun
	b.stop(first)
	require.NotNil(t, b.schedule(s, "slow").RunningSince)

	b.started(sweep)
	b.eventually(func() bool { return b.schedule(s, "slow").LastStatus == "ok" })
	require.EqualValues(t, 1, ended.Load())
	require.Equal(t, next, b.schedule(s, "slow").NextRun, "its next time stays")
}

func TestRunNow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var c counter
	b.started(c.sweep("hourly", "0 * * * *"))
	s, _ := b.service() // a process that knows no sweep and doesn't work
	b.eventually(func() bool { return b.schedule(s, "hourly").Name != "" })
	off := false
	_, err := s.Update(t.Context(), b.admin, b.ip, "hourly", cleanup.UpdateInput{Enabled: &off})
	require.NoError(t, err)
	b.advance(2 * time.Hour)
	b.ran(&c, 0) // it is off

	done, err := s.RunNow(t.Context(), b.admin, b.ip, "hourly")
	require.NoError(t, err)
	require.Equal(t, "ok", done.LastStatus)
	require.Nil(t, done.RequestedAt)
	b.ran(&c, 1)
	require.Equal(t, 2, b.count(`activity_log WHERE action IN ('schedule.run', 'schedule.update')`))
}

func TestRunNow_WithoutAWorkerWaitsForOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var c counter
	b.exec(`INSERT INTO schedules (name, description, cron, default_cron, next_run) VALUES ('hourly', '', '0 * * * *', '0 * * * *', now() + interval '100 years')`)
	s, _ := b.service()
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	got, err := s.RunNow(short, b.admin, b.ip, "hourly")
	require.NoError(t, err)
	require.NotNil(t, got.RequestedAt)
	b.started(c.sweep("hourly", "0 * * * *"))
	b.ran(&c, 1)
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var c counter
	s, e := b.service(c.sweep("hourly", "0 * * * *"))
	require.NoError(t, e.Start(t.Context()))
	b.eventually(func() bool { return b.schedule(s, "hourly").Name != "" })
	daily, back := "15 3 * * *", ""
	got, err := s.Update(t.Context(), b.admin, b.ip, "hourly", cleanup.UpdateInput{Cron: &daily})
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 3, 2, 3, 15, 0, 0, time.UTC), got.NextRun)
	b.stop(e)

	again := b.started(c.sweep("hourly", "30 * * * *")) // a new version has another default
	b.eventually(func() bool { return b.schedule(again, "hourly").DefaultCron == "30 * * * *" })
	require.Equal(t, daily, b.schedule(again, "hourly").Cron, "an admin's word stays")
	got, err = s.Update(t.Context(), b.admin, b.ip, "hourly", cleanup.UpdateInput{Cron: &back})
	require.NoError(t, err)
	require.Equal(t, "30 * * * *", got.Cron)
	require.Equal(t, time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC), got.NextRun)
}

func TestUpdate_OfNothingLeavesWhatIsDue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var c counter
	s, e := b.service(c.sweep("hourly", "0 * * * *"))
	require.NoError(t, e.Start(t.Context()))
	b.eventually(func() bool { return b.schedule(s, "hourly").Name != "" })
	b.stop(e)
	b.advance(3 * time.Hour)
	same, on := "0 * * * *", true
	for _, in := range []cleanup.UpdateInput{{}, {Cron: &same}, {Enabled: &on}} {
		got, err := s.Update(t.Context(), b.admin, b.ip, "hourly", in)
		require.NoError(t, err)
		require.Equal(t, time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC), got.NextRun.UTC())
	}
	require.Zero(t, b.count(`activity_log WHERE action = 'schedule.update'`), "nothing was changed")
}

func TestLead_ScheduleThatCannotBeUnderstoodDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var broken, well counter
	s := b.started(broken.sweep("broken", "0 * * * *"), well.sweep("well", "30 * * * *"))
	b.eventually(func() bool { return b.schedule(s, "well").Name != "" })
	b.exec(`UPDATE schedules SET cron = 'by hand, wrongly' WHERE name = 'broken'`)
	b.advance(2 * time.Hour)
	b.ran(&well, 1)
	require.Zero(t, broken.runs.Load())
}

func TestSchedules_BadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var c counter
	s := b.started(c.sweep("hourly", "0 * * * *"))
	b.eventually(func() bool { return b.schedule(s, "hourly").Name != "" })
	for _, cron := range []string{"every hour", "61 * * * *", "* * * *", "0 0 30 2 *", "@every", "@every -5s x", "\x00", "TZ=UTC", "TZ=", "CRON_TZ=UTC", "TZ=UTC 0 * * * *"} {
		_, err := s.Update(t.Context(), b.admin, b.ip, "hourly", cleanup.UpdateInput{Cron: &cron})
		require.ErrorIs(t, err, cleanup.ErrBadCron, cron)
	}
	_, err := s.Update(t.Context(), b.admin, b.ip, "nothing", cleanup.UpdateInput{})
	require.ErrorIs(t, err, cleanup.ErrNotFound)
	_, err = s.RunNow(t.Context(), b.admin, b.ip, "nothing")
	require.ErrorIs(t, err, cleanup.ErrNotFound)

	owner := accounts.Principal{AccountID: 7, Username: "ada"}
	_, err = s.List(t.Context(), owner)
	require.ErrorIs(t, err, cleanup.ErrAdminOnly)
	_, err = s.Update(t.Context(), owner, b.ip, "hourly", cleanup.UpdateInput{})
	require.ErrorIs(t, err, cleanup.ErrAdminOnly)
	_, err = s.RunNow(t.Context(), owner, b.ip, "hourly")
	require.ErrorIs(t, err, cleanup.ErrAdminOnly)
	require.Panics(t, func() { s.Add(c.sweep("hourly", "0 * * * *")) })
	require.Panics(t, func() { s.Add(c.sweep("other", "never")) })
}
