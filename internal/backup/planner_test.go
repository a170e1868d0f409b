package backup_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/tenants"
)

func (o *office) takeDue(p *backup.Planner) int {
	o.Helper()
	n, err := p.TakeDue(o.Context())
	require.NoError(o, err)
	return n
}

func (o *office) prune(p *backup.Planner) int {
	o.Helper()
	n, err := p.Prune(o.Context())
	require.NoError(o, err)
	return n
}

func (o *office) outlook(p *backup.Planner, id tenants.ID) backup.Outlook {
	o.Helper()
	list, err := p.Outlooks(o.Context(), []tenants.ID{id})
	require.NoError(o, err)
	return list[id]
}

// openAlerts returns the message of each open alert of a kind.
func (o *office) openAlerts(kind string) map[string]string {
	o.Helper()
	open := map[string]string{}
	rows, err := o.pool.Query(o.Context(), "SELECT subject, message FROM alerts WHERE kind = $1 AND resolved_at IS NULL", kind)
	require.NoError(o, err)
	for rows.Next() {
		var subject, message string
		require.NoError(o, rows.Scan(&subject, &message))
		open[subject] = message
	}
	require.NoError(o, rows.Err())
	return open
}

// Sixteen days, hour by hour: each client gets its backups, and what stays is what the plan says.
func TestPlanner_HourByHour(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.exec("UPDATE plans SET backups_daily = 3, backups_weekly = 2, backups_monthly = 1 WHERE id = 'enterprise'")
	basic, business, special := o.client("acme", "basic"), o.client("globex", "business"), o.client("initech", "enterprise")
	p := o.planner(backup.PlannerOptions{Parallel: 100})
	begin, asked := o.now, 0 // Monday noon
	for o.now.Before(begin.AddDate(0, 0, 16)) {
		asked += o.takeDue(p)
		o.done()
		o.prune(p)
		o.done()
		o.now = o.now.Add(time.Hour)
	}
	require.Equal(t, 16, o.count("backups WHERE tenant_id = $1 AND kind = 'daily'", basic))
	require.Zero(t, o.count("backups WHERE tenant_id = $1 AND kind = 'hourly'", basic))
	have := func(id tenants.ID, what string) int {
		return o.count("backups WHERE tenant_id = $1 AND state = 'done' AND "+what, id)
	}
	require.Equal(t, []int{9, 3, 1}, []int{have(basic, "true"), have(basic, "weekly"), have(basic, "monthly")}, "seven days, two older weeks, and the month is in one of them")
	require.Equal(t, 9, have(business, "kind = 'daily'"))
	require.InDelta(t, 24, have(business, "kind = 'hourly'"), 1)
	require.Equal(t, []int{5, 1}, []int{have(special, "kind = 'daily'"), have(special, "monthly")}, "three days, one older week and the month")
	require.InDelta(t, 16+2*16*24, asked, 4, "one of either kind an hour")
	require.InDelta(t, 8*24, o.count("backups WHERE tenant_id = $1 AND kind = 'hourly'", business), 10, "rows of copies that are gone stay a week")
	require.Equal(t, o.count("operations"), o.count("operations WHERE subject IN (SELECT 'backup/' || id FROM backups)"), "what was done with them goes with them")
	require.Zero(t, o.count("backups WHERE kind = 'hourly' AND state = 'done' AND created_at <= $1", o.now.Add(-25*time.Hour)))
	require.Equal(t, o.count("backups"), o.count("backups WHERE requested_by = 'system'"))
}

// After days in which nothing ran, each client has one backup at once, and not one for each day.
func TestPlanner_MakesUpForOnce(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	require.Zero(t, o.takeDue(p), "new today")
	o.now = o.now.AddDate(0, 0, 5)
	require.Equal(t, 1, o.takeDue(p))
	require.Zero(t, o.takeDue(p), "it is under way")
	o.done()
	require.Zero(t, o.takeDue(p))
}

func TestPlanner_TriesAgainAfterAnHour(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	o.now = o.now.AddDate(0, 0, 1)
	require.Equal(t, 1, o.takeDue(p))
	o.failed()
	require.Zero(t, o.takeDue(p))
	o.now = o.now.Add(time.Hour)
	require.Equal(t, 1, o.takeDue(p))
	o.done()
	o.now = o.now.Add(time.Hour)
	require.Zero(t, o.takeDue(p))
}

// What always fails, and takes long at it, doesn't come before those who have waited for longer.
func TestPlanner_WhatFailsWaitsForTheOthers(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	trap, other := o.client("acme", "basic"), o.client("globex", "basic")
	p := o.planner(backup.PlannerOptions{})
	o.now = o.now.AddDate(0, 0, 1)
	require.Equal(t, 2, o.takeDue(p))
	o.exec("UPDATE backups SET state = 'failed', started_at = $1, finished_at = $1, error = 'It took too long.' WHERE tenant_id = $2", o.now, trap)
	o.done()
	o.now = o.now.Add(time.Hour)
	require.Equal(t, 1, o.takeDue(p))
	o.failed()
	o.now = o.now.AddDate(0, 0, 1)
	p = o.planner(backup.PlannerOptions{Parallel: 1})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = p.TakeDue(ctx)
	}()
	require.Eventually(t, func() bool { return o.count("backups WHERE state = 'queued'") == 1 }, time.Minute, time.Millisecond)
	cancel()
	<-ended
	require.Equal(t, 1, o.count("backups WHERE state = 'queued' AND tenant_id = $1", other))
}

// Only so many are under way at a time; what people ask for isn't counted.
func TestPlanner_TakesAFewAtATime(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	for _, name := range []string{"one", "two", "three", "four", "five"} {
		o.client(name, "basic")
	}
	byHand := o.client("six", "basic")
	p := o.planner(backup.PlannerOptions{Parallel: 2})
	o.now = o.now.AddDate(0, 0, 1)
	o.take(byHand, backup.Manual)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan int)
	go func() {
		n, _ := p.TakeDue(ctx)
		result <- n
	}()
	ended := 0
	require.Eventually(t, func() bool {
		live := o.count("backups WHERE state IN ('queued', 'running') AND kind = 'daily'")
		require.LessOrEqual(t, live, 2)
		if live == 2 || ended >= 4 && live > 0 {
			o.done()
			ended += live
		}
		return ended == 6 // the sixth once its own by hand has ended
	}, time.Minute, time.Millisecond)
	require.Equal(t, 6, <-result)
	cancel()
}

// What doesn't run is backed up once more after it stopped, and then not until it ran again.
func TestPlanner_WhatStandsStill(t *testing.T) {
	t.Parallel()
	for _, state := range []tenants.State{tenants.Suspended, tenants.Sleeping, tenants.Scheduled} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			o := openOffice(t)
			id := o.client("acme", "business")
			p := o.planner(backup.PlannerOptions{})
			night := func() int {
				o.now = o.now.AddDate(0, 0, 1)
				n := o.takeDue(p)
				o.done()
				return n
			}
			require.Equal(t, 1, night())
			o.now = o.now.Add(time.Minute)
			o.move(id, state)
			require.NotNil(t, o.outlook(p, id).Next)
			require.Equal(t, 1, night(), "it ran after its last backup")
			for range 3 {
				require.Zero(t, night())
			}
			require.Nil(t, o.outlook(p, id).Next)
			require.NotNil(t, o.outlook(p, id).Last)
			o.move(id, tenants.Active)
			require.Equal(t, 1, night())
		})
	}
}

func TestPlanner_NeverOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	p := o.planner(backup.PlannerOptions{})
	id := o.client("acme", "basic")
	unpaid := o.client("globex", "business")
	o.exec("UPDATE tenants SET state = 'pending', paid_at = NULL, activated_at = NULL WHERE id = $1", unpaid)
	o.now = o.now.AddDate(0, 0, 1)
	require.Equal(t, 1, o.takeDue(p), "of the one that was ever up")
	o.done()
	require.Equal(t, backup.Outlook{}, o.outlook(p, unpaid))
	for _, state := range []tenants.State{tenants.Deleting, tenants.Deleted} {
		o.move(id, state)
		o.now = o.now.AddDate(0, 0, 1)
		require.Zero(t, o.takeDue(p))
		require.Equal(t, backup.Outlook{}, o.outlook(p, id))
	}
}

func TestPlanner_Outlooks(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	daily, hourly := o.client("acme", "basic"), o.client("globex", "business")
	p := o.planner(backup.PlannerOptions{})
	first := o.outlook(p, daily)
	require.Nil(t, first.Last)
	require.Equal(t, 3, first.Next.Day())
	require.True(t, o.outlook(p, hourly).Next.Before(o.now.Add(time.Hour)))
	o.take(hourly, backup.Hourly)
	o.done()
	require.Nil(t, o.outlook(p, hourly).Last, "a copy of the database is no backup")
	o.take(daily, backup.Manual)
	o.done()
	require.Equal(t, o.now, o.outlook(p, daily).Last.UTC())
	require.Equal(t, first.Next, o.outlook(p, daily).Next, "one by hand doesn't stand in for the nightly one")
	o.now = o.now.AddDate(0, 0, 1)
	require.Equal(t, o.now, *o.outlook(p, daily).Next, "it is due")
	o.exec("UPDATE backups SET broken_at = now(), proven_at = $1 WHERE tenant_id = $2", o.now, daily)
	broken := o.outlook(p, daily)
	require.Nil(t, broken.Last)
	require.Nil(t, broken.Proven, "nothing can be restored from it")
}

// A client that is deleted leaves its backups for a month, and then none, wishes or not.
func TestPlanner_LetsGoOfTheDeleted(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	kept := o.take(id, backup.Manual)
	o.done()
	o.take(id, backup.Daily)
	o.done()
	o.move(id, tenants.Deleting)
	o.take(id, backup.Final)
	o.done()
	_, err := o.backups.Keep(t.Context(), kept.ID, true)
	require.NoError(t, err)
	o.move(id, tenants.Deleted)
	o.now = o.now.AddDate(0, 0, 29)
	require.Zero(t, o.prune(p))
	o.now = o.now.AddDate(0, 0, 1)
	require.Equal(t, 3, o.prune(p))
	require.Zero(t, o.prune(p), "they are going")
	o.done()
	o.now = o.now.AddDate(0, 0, 90).Add(time.Second)
	o.prune(p)
	require.Zero(t, o.count("backups"), "their rows too, in the end")
}

func TestPlanner_Watch(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{Unproven: 8 * 24 * time.Hour})
	watch := func(behind int) {
		t.Helper()
		n, err := p.Watch(t.Context())
		require.NoError(t, err)
		require.Equal(t, behind, n)
	}
	watch(0)
	o.now = o.now.Add(36 * time.Hour)
	watch(1)
	watch(1)
	require.Equal(t, map[string]string{id.Subject(): "The newest good backup is 37h0m0s old"}, o.openAlerts("backup.overdue"))
	o.take(id, backup.Daily)
	watch(1) // it is asked for, and that proves nothing
	o.failed()
	watch(1)
	o.take(id, backup.Hourly)
	o.done()
	watch(1)
	o.take(id, backup.Daily)
	o.done()
	watch(0)
	require.Empty(t, o.openAlerts("backup.overdue"))

	o.now = o.now.AddDate(0, 0, 8)
	o.take(id, backup.Daily)
	o.done()
	watch(1)
	require.Len(t, o.openAlerts("backup.unproven"), 1)
	o.exec("UPDATE backups SET proven_at = $1", o.now)
	watch(0)
	require.Empty(t, o.openAlerts("backup.unproven"))

	o.exec("UPDATE backups SET broken_at = $1", o.now)
	o.now = o.now.Add(time.Hour)
	watch(2) // none is good any more, nor proven
	o.move(id, tenants.Deleting)
	watch(0)
}

// After an upgrade from a release that proved nothing, nobody is late by what was taken before it.
func TestPlanner_WatchCountsProofsSinceThereAreAny(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	late := func(days int) map[string]string {
		t.Helper()
		o.now = o.now.AddDate(0, 0, days)
		o.take(id, backup.Daily)
		o.done()
		_, err := p.Watch(t.Context())
		require.NoError(t, err)
		return o.openAlerts("backup.unproven")
	}
	require.Empty(t, late(0))
	require.NotEmpty(t, late(30))
	o.provingSince(o.now)
	require.Empty(t, late(7))
	require.NotEmpty(t, late(1), "and then it is")
}

// A place for backups that is taken away is told of, as long as there are clients who count on it.
func TestPlanner_WatchWithout(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	watch := func() map[string]string {
		t.Helper()
		require.NoError(t, p.WatchWithout(t.Context()))
		return o.openAlerts("backup.not_configured")
	}
	o.now = o.now.AddDate(0, 0, 2)
	require.Empty(t, watch(), "there never was one")
	require.Empty(t, o.openAlerts("backup.overdue"))
	o.take(id, backup.Daily)
	o.done()
	require.Contains(t, watch()["backups"], "S3_ACCESS_KEY")
	o.now = o.now.AddDate(0, 0, 2)
	require.Len(t, watch(), 1)
	var count int
	require.NoError(t, o.pool.QueryRow(t.Context(), "SELECT count FROM alerts WHERE kind = 'backup.not_configured' AND resolved_at IS NULL").Scan(&count))
	require.Equal(t, 2, count, "it is the same one")
	require.Contains(t, o.openAlerts("backup.overdue"), id.Subject())
	_, err := p.Watch(t.Context())
	require.NoError(t, err)
	require.Empty(t, o.openAlerts("backup.not_configured"), "there is one again")
	o.move(id, tenants.Deleting)
	require.Empty(t, watch())
}

// What nobody makes any more doesn't keep others from being taken.
func TestPlanner_GivesUpWhatIsStuck(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	p := o.planner(backup.PlannerOptions{})
	for name, end := range map[string]string{
		"abandoned": "UPDATE operations SET state = 'abandoned', finished_at = now() WHERE finished_at IS NULL",
		"held":      "UPDATE operations SET state = 'held' WHERE finished_at IS NULL",
		"gone":      "DELETE FROM operations",
	} {
		id := o.client(name, "basic")
		b := o.take(id, backup.Manual)
		o.prune(p)
		_, err := o.backups.Take(t.Context(), backup.TakeInput{TenantID: id, Kind: backup.Daily, By: "system"})
		require.ErrorIs(t, err, backup.ErrBusy, "it is under way")
		o.exec(end)
		o.prune(p)
		b, err = o.backups.Get(t.Context(), b.ID)
		require.NoError(t, err)
		require.Equal(t, backup.Failed, b.State, name)
		require.NotEmpty(t, b.Error)
		require.Contains(t, o.openAlerts("backup.failed"), id.Subject())
		o.take(id, backup.Daily)
		o.done()
	}
}
