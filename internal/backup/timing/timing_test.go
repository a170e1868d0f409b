package timing_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/timing"
)

func zone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	require.NoError(t, err)
	return z
}

// Whatever the zone does with its clocks: one time a day, in the night, with the next after the last.
func TestDaily(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"UTC", "Africa/Lagos", "Europe/Berlin", "America/New_York", "Pacific/Chatham"} {
		z := zone(t, name)
		night := timing.DefaultNight(z)
		for client := int64(1); client <= 20; client++ {
			slots := night.Daily(client)
			begin := time.Date(2026, 1, 1, 0, 0, 0, 0, z)
			var days int
			for next := slots.Next(begin); next.Before(begin.AddDate(1, 0, 0)); next = slots.Next(next) {
				require.True(t, slots.Last(next).Equal(next), "%s is the last time at %s", next, slots.Last(next))
				require.True(t, slots.Last(next.Add(-1)).Before(next))
				require.GreaterOrEqual(t, next.In(z).Hour(), 1, "%s", next.In(z)) // 01:59:… where the clock goes back
				require.Less(t, next.In(z).Hour(), 6, "%s", next.In(z))
				days++
			}
			require.Equal(t, 365, days)
		}
	}
}

// 500 clients don't come together, and a client comes at about the same time each night but not at the same.
func TestDaily_IsSpreadAndJittered(t *testing.T) {
	t.Parallel()
	night := timing.DefaultNight(time.UTC)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tenths := map[time.Duration]int{}
	for client := int64(1); client <= 500; client++ {
		first := night.Daily(client).Next(now)
		tenths[first.Sub(now.Add(2*time.Hour))/(12*time.Minute)]++
		second := night.Daily(client).Next(first)
		require.LessOrEqual(t, math.Abs((second.Sub(first) - 24*time.Hour).Seconds()), 600.0)
	}
	require.Len(t, tenths, 10)
	for _, n := range tenths {
		require.InDelta(t, 50, n, 35)
	}
	require.NotEqual(t, 24*time.Hour, night.Daily(7).Next(night.Daily(7).Next(now)).Sub(night.Daily(7).Next(now)))
}

// A night may last past midnight.
func TestDaily_OverMidnight(t *testing.T) {
	t.Parallel()
	night := timing.Night{Zone: time.UTC, Begin: 23 * time.Hour, Spread: 4 * time.Hour}
	for client := int64(1); client <= 50; client++ {
		slots := night.Daily(client)
		for now, end := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 8, 0, 0, 0, 0, time.UTC); now.Before(end); now = now.Add(17 * time.Minute) {
			last, next := slots.Last(now), slots.Next(now)
			require.False(t, last.After(now))
			require.True(t, next.After(now))
			require.True(t, slots.Next(last).Equal(next), "nothing lies between %s and %s", last, next)
		}
	}
}

func TestHourly(t *testing.T) {
	t.Parallel()
	minutes := map[int]bool{}
	for client := int64(1); client <= 500; client++ {
		slots := timing.Hourly(client)
		now := time.Date(2026, 3, 1, 10, 31, 7, 0, time.UTC)
		last, next := slots.Last(now), slots.Next(now)
		require.False(t, last.After(now))
		require.True(t, next.After(now))
		require.Equal(t, time.Hour, next.Sub(last))
		require.True(t, slots.Last(next).Equal(next))
		minutes[next.Minute()] = true
	}
	require.Greater(t, len(minutes), 50)
}

func TestDue(t *testing.T) {
	t.Parallel()
	slots := timing.DefaultNight(time.UTC).Daily(42)
	noon := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	last := slots.Last(noon)
	next := slots.Next(noon)
	before, after := last.Add(-time.Minute), last.Add(time.Minute)
	old := last.AddDate(0, -1, 0)
	for name, c := range map[string]struct {
		history timing.History
		now     time.Time
		want    bool
	}{
		"its time has come":                   {timing.History{Since: old, Covered: before, Tried: before}, last, true},
		"it was there":                        {timing.History{Since: old, Covered: after, Tried: after}, noon, false},
		"its time was missed":                 {timing.History{Since: old, Covered: old, Tried: old}, noon, true},
		"never yet":                           {timing.History{Since: old}, noon, true},
		"new since":                           {timing.History{Since: after}, noon, false},
		"new, and its first night is over":    {timing.History{Since: after}, next, true},
		"it failed just now":                  {timing.History{Since: old, Covered: before, Tried: after}, after.Add(time.Minute), false},
		"it failed an hour ago":               {timing.History{Since: old, Covered: before, Tried: after}, after.Add(time.Hour), true},
		"the one before failed, a minute ago": {timing.History{Since: old, Covered: old, Tried: before}, last, true},
	} {
		require.Equal(t, c.want, timing.Due(slots, c.history, c.now), name)
	}
}

// Each client has its own second of the week, whatever the clocks on the wall do.
func TestWeekly(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	hours := map[time.Duration]int{}
	for client := range int64(2000) {
		slots := timing.Weekly(client)
		last, next := slots.Last(now), slots.Next(now)
		require.False(t, last.After(now))
		require.True(t, next.After(now))
		require.Equal(t, week, next.Sub(last))
		require.Equal(t, next, slots.Last(next))
		hours[next.Sub(now).Truncate(time.Hour)]++
	}
	require.Len(t, hours, 7*24, "spread over the hours of a week")
	for hour, n := range hours {
		require.Less(t, n, 40, "%s", hour)
	}
}
