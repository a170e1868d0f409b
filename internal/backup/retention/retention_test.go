package retention_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/retention"
)

func date(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.DateTime, text)
	require.NoError(t, err)
	return at
}

func good(id int64, at time.Time) retention.Copy {
	return retention.Copy{ID: id, TakenAt: at, Daily: true, Full: true, Good: true}
}

func TestMake(t *testing.T) {
	t.Parallel()
	now := date(t, "2026-03-20 12:00:00") // a Friday
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const days = 24 * time.Hour
	one := retention.Rule{Daily: 1}
	for name, c := range map[string]struct {
		rule   retention.Rule
		copies []retention.Copy
		want   retention.Plan
	}{
		"nothing": {rule: retention.Default()},
		"the first is marked for its week and month": {
			rule: retention.Default(), copies: []retention.Copy{good(1, ago(0))}, want: retention.Plan{Weekly: []int64{1}, Monthly: []int64{1}},
		},
		"of one day the newest stays": {rule: one, copies: []retention.Copy{good(2, ago(1)), good(1, ago(2))}, want: retention.Plan{Expired: []int64{1}}},
		"the only good one stays, however old": {
			rule: one, copies: []retention.Copy{good(1, ago(300*days)), {ID: 2, TakenAt: ago(days), Daily: true, Full: true}},
		},
		"full ones stay where no newer one is good": {
			rule: retention.Rule{}, copies: []retention.Copy{
				{ID: 1, TakenAt: ago(33 * days), Daily: true, Full: true},
				good(2, ago(32*days)),
				{ID: 3, TakenAt: ago(31 * days), Daily: true, Full: true},
				{ID: 4, TakenAt: ago(30 * days), Daily: true, Full: true},
			}, want: retention.Plan{Expired: []int64{1}},
		},
		"what failed is no last resort": {
			rule: one, copies: []retention.Copy{
				{ID: 1, TakenAt: ago(31 * days), Daily: true, Full: true, BadSince: ago(30 * days)}, {ID: 2, TakenAt: ago(8 * days), Daily: true},
			}, want: retention.Plan{Expired: []int64{2}},
		},
		"the doubtful time begins when it was found": {
			rule: one, copies: []retention.Copy{
				{ID: 1, TakenAt: ago(30 * days), Daily: true, Full: true, BadSince: ago(7*days - 1)},
				{ID: 2, TakenAt: ago(30 * days), Daily: true, Full: true, BadSince: ago(7 * days)},
				good(3, ago(0)),
			}, want: retention.Plan{Expired: []int64{2}},
		},
		"a copy of the database alone is no last resort": {
			rule: retention.Rule{}, copies: []retention.Copy{good(1, ago(9*days)), {ID: 2, TakenAt: ago(25 * time.Hour), Good: true, Lifetime: days}},
			want: retention.Plan{Expired: []int64{2}},
		},
		"hourly ones live for their time": {
			rule: one, copies: []retention.Copy{
				good(1, ago(days)), {ID: 2, TakenAt: ago(days), Good: true, Lifetime: days}, {ID: 3, TakenAt: ago(days - 1), Good: true, Lifetime: days},
			}, want: retention.Plan{Expired: []int64{2}},
		},
		"a wish keeps anything": {
			rule: one, copies: []retention.Copy{
				good(5, ago(0)),
				{ID: 1, TakenAt: ago(900 * days), Kept: true, Daily: true, Good: true},
				{ID: 2, TakenAt: ago(900 * days), Kept: true},
				{ID: 3, TakenAt: ago(900 * days), Kept: true, Good: true, Lifetime: time.Hour},
			},
		},
		"what isn't good doesn't push out what is": {
			rule: retention.Rule{Daily: 2}, copies: []retention.Copy{
				good(1, ago(9*days)), good(2, ago(8*days)), {ID: 3, TakenAt: ago(6 * days), Daily: true, Full: true}, {ID: 4, TakenAt: ago(7 * days), Daily: true},
			}, want: retention.Plan{Expired: []int64{4}},
		},
		"a mark on one that is good no more passes on": {
			rule: retention.Rule{Daily: 1, Weekly: 1}, copies: []retention.Copy{
				{ID: 1, TakenAt: ago(2 * days), Daily: true, Full: true, Weekly: true}, good(2, ago(days)), good(3, ago(0)),
			}, want: retention.Plan{Weekly: []int64{2}},
		},
		"a manual one is the last resort too": {
			rule: one, copies: []retention.Copy{{ID: 1, TakenAt: ago(90 * days), Full: true, Good: true, Lifetime: 30 * days}},
		},
	} {
		require.Equal(t, c.want, retention.Make(c.rule, c.copies, now, time.UTC), name)
	}
}

// The day is that of the platform's zone: these two are of one day there, and of two in UTC.
func TestMake_TakesDaysOfItsZone(t *testing.T) {
	t.Parallel()
	lagos, err := time.LoadLocation("Africa/Lagos")
	require.NoError(t, err)
	copies := []retention.Copy{good(1, date(t, "2026-03-19 23:30:00")), good(2, date(t, "2026-03-20 01:00:00"))}
	now := date(t, "2026-03-20 12:00:00")
	require.Equal(t, []int64{1}, retention.Make(retention.Rule{Daily: 2}, copies, now, lagos).Expired)
	require.Empty(t, retention.Make(retention.Rule{Daily: 2}, copies, now, time.UTC).Expired)
}

// shelf is a client's backups while time passes. Of taken it knows all that were ever good.
type shelf struct {
	rule   retention.Rule
	zone   *time.Location
	copies []retention.Copy
	taken  []retention.Copy
	next   int64
}

func (s *shelf) add(c retention.Copy) {
	s.next++
	c.ID = s.next
	s.copies = append(s.copies, c)
	if c.Good && c.Daily {
		s.taken = append(s.taken, c)
	}
}

func (s *shelf) apply(p retention.Plan) {
	for i := range s.copies {
		c := &s.copies[i]
		c.Weekly = c.Weekly || slices.Contains(p.Weekly, c.ID)
		c.Monthly = c.Monthly || slices.Contains(p.Monthly, c.ID)
	}
	s.copies = slices.DeleteFunc(s.copies, func(c retention.Copy) bool { return slices.Contains(p.Expired, c.ID) })
}

func (s *shelf) has(id int64) bool {
	return slices.ContainsFunc(s.copies, func(c retention.Copy) bool { return c.ID == id })
}

// expected names, without the code under test, what a client whose backups nobody touches must have: the newest of each of the last days,
// the oldest of each of the last weeks and months.
func (s *shelf) expected() map[int64]bool {
	want := map[int64]bool{}
	period := func(n int, oldest bool, key func(time.Time) string) {
		var order []string
		chosen := map[string]int64{}
		for _, c := range s.taken {
			k := key(c.TakenAt.In(s.zone))
			if _, seen := chosen[k]; !seen {
				order = append(order, k)
				chosen[k] = c.ID
			} else if !oldest {
				chosen[k] = c.ID
			}
		}
		for _, k := range order[max(0, len(order)-n):] {
			want[chosen[k]] = true
		}
	}
	period(s.rule.Daily, false, func(at time.Time) string { return at.Format(time.DateOnly) })
	period(s.rule.Weekly, true, func(at time.Time) string { y, w := at.ISOWeek(); return fmt.Sprint(y, "/", w) })
	period(s.rule.Monthly, true, func(at time.Time) string { return at.Format("2006-01") })
	return want
}

// 120 days of a client's life, 240 times: backups that come late, twice or not at all, that fail, hourly and manual ones, keep
// marks, a platform that is down for days, and a change of summer time.
func TestMake_Over120Days(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		for _, zone := range []string{"UTC", "Africa/Lagos", "Europe/Berlin", "Pacific/Chatham"} {
			t.Run(fmt.Sprint(zone, "/", seed), func(t *testing.T) {
				t.Parallel()
				liveThrough(t, seed, zone)
			})
		}
	}
}

func liveThrough(t *testing.T, seed uint64, zoneName string) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a simulation
	zone, err := time.LoadLocation(zoneName)
	require.NoError(t, err)
	s := &shelf{rule: retention.Rule{Daily: 1 + r.IntN(9), Weekly: r.IntN(6), Monthly: r.IntN(5)}, zone: zone}
	if seed%3 == 0 {
		s.rule = retention.Default()
	}
	start := time.Date(2025, 9, 1+r.IntN(60), 0, 0, 0, 0, zone)
	down := start.AddDate(0, 0, r.IntN(120))
	for day := range 120 {
		now := time.Date(start.Year(), start.Month(), start.Day()+day, 2, r.IntN(120), 0, 0, zone)
		if now.After(down) && now.Before(down.AddDate(0, 0, 12)) && seed%4 == 0 {
			continue // and nothing is pruned either
		}
		switch r.IntN(10) {
		case 0: // it failed
			s.add(retention.Copy{TakenAt: now, Daily: true})
		case 1: // none
		case 2: // one more on this day
			s.add(good(0, now))
			s.add(good(0, now.Add(5*time.Hour)))
		default:
			s.add(good(0, now))
		}
		s.add(retention.Copy{TakenAt: now, Good: true, Lifetime: 24 * time.Hour})
		if r.IntN(15) == 0 {
			s.add(retention.Copy{TakenAt: now, Good: true, Full: true, Lifetime: 30 * 24 * time.Hour, Kept: r.IntN(3) == 0})
		}
		s.check(t, now.Add(6*time.Hour))
	}
}

func (s *shelf) check(t *testing.T, now time.Time) {
	t.Helper()
	before := slices.Clone(s.copies)
	s.apply(retention.Make(s.rule, s.copies, now, s.zone))
	again := retention.Make(s.rule, s.copies, now, s.zone)
	require.Equal(t, retention.Plan{}, again, "a second look finds nothing to do")

	want := s.expected()
	for id := range want {
		require.True(t, s.has(id), "backup %d stays", id)
	}
	var lastGood int64
	for _, c := range before {
		if c.Full && c.Good {
			lastGood = c.ID // in the order of time
		}
		if c.Kept {
			require.True(t, s.has(c.ID), "backup %d is kept", c.ID)
		}
	}
	if lastGood != 0 {
		require.True(t, slices.ContainsFunc(s.copies, func(c retention.Copy) bool { return c.Full && c.Good }), "something can be restored")
	}
	var days int
	for _, c := range s.copies {
		age := now.Sub(c.TakenAt)
		switch {
		case c.Daily && c.Good && !want[c.ID]:
			require.Equal(t, lastGood, c.ID, "backup %d of %s has nothing to stay for", c.ID, c.TakenAt)
		case c.Daily && c.Good:
			days++
		case !c.Good && lastGood != 0:
			require.Less(t, age, retention.Doubtful)
		case c.Good && !c.Full:
			require.Less(t, age, c.Lifetime)
		}
	}
	require.LessOrEqual(t, days, s.rule.Daily+s.rule.Weekly+s.rule.Monthly)
}
