package billing_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
)

func day(text string) time.Time {
	at, err := time.Parse(time.DateOnly, text)
	if err != nil {
		panic(err)
	}
	return at
}

func TestNext(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		anchor string
		cycle  billing.Cycle
		want   []string
	}{
		{"2026-01-31", billing.Monthly, []string{"2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"}},
		{"2028-01-31", billing.Monthly, []string{"2028-02-29", "2028-03-31"}},
		{"2026-01-29", billing.Monthly, []string{"2026-02-28", "2026-03-29"}},
		{"2026-12-15", billing.Monthly, []string{"2027-01-15", "2027-02-15"}},
		{"2026-05-31", billing.Annual, []string{"2027-05-31", "2028-05-31"}},
		{"2028-02-29", billing.Annual, []string{"2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"}},
	} {
		end := day(tc.anchor)
		for _, want := range tc.want {
			end = billing.Next(day(tc.anchor), end, tc.cycle)
			require.Equal(t, want, end.Format(time.DateOnly), "from %s, %s", tc.anchor, tc.cycle)
		}
	}
}

// seeded makes a property's counterexample repeatable.
func seeded(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 2026)) } //nolint:gosec // not a secret

func anyTime(r *rand.Rand) time.Time {
	return time.Date(2020+r.IntN(40), time.Month(1+r.IntN(12)), 1+r.IntN(31), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e9), time.UTC)
}

// Twelve months are a year, no month is skipped or met twice, the time of day stays, and the day is the anchor's or the month's last.
func TestNext_Properties(t *testing.T) {
	t.Parallel()
	r := seeded(1)
	for range 2000 {
		anchor := anyTime(r)
		end, years := anchor, anchor
		for n := 1; n <= 48; n++ {
			after := billing.Next(anchor, end, billing.Monthly)
			require.True(t, after.After(end))
			require.Equal(t, (int(end.Month())%12)+1, int(after.Month()), "%s after %s", after, end)
			last := after.AddDate(0, 0, 1).Month() != after.Month()
			require.True(t, after.Day() == anchor.Day() || last && after.Day() < anchor.Day(), "%s of %s", after, anchor)
			require.Equal(t, anchor.Format("15:04:05.999999999"), after.Format("15:04:05.999999999"))
			require.LessOrEqual(t, after.Sub(end), 31*24*time.Hour)
			end = after
			if n%12 == 0 {
				years = billing.Next(anchor, years, billing.Annual)
				require.Equal(t, years, end)
			}
		}
	}
}

func TestProrate(t *testing.T) {
	t.Parallel()
	start, end := day("2026-04-01"), day("2026-05-01")
	for _, tc := range []struct {
		old, want, cost int64
		now             time.Time
	}{
		{1_500_000, 4_500_000, 3_000_000, start},
		{1_500_000, 4_500_000, 1_500_000, day("2026-04-16")},
		{1_500_000, 4_500_000, 100_000, day("2026-04-30")},
		{1_500_000, 4_500_000, 0, end},
		{1_500_000, 4_500_000, 0, day("2026-06-01")},
		{1_500_000, 4_500_000, 3_000_000, day("2026-03-01")},
		{4_500_000, 1_500_000, 0, start},
		{1_500_000, 1_500_000, 0, start},
		{0, 1, 0, start.Add(time.Nanosecond)},
		{0, 1 << 60, 1 << 59, day("2026-04-16")},
	} {
		require.Equal(t, tc.cost, billing.Prorate(tc.old, tc.want, start, end, tc.now), "%d to %d at %s", tc.old, tc.want, tc.now)
	}
}

// Never less than nothing nor more than the difference, never more later than sooner, exact to less than a kobo, and changing in two
// steps costs the same as in one, to a kobo that is the customer's.
func TestProrate_Properties(t *testing.T) {
	t.Parallel()
	r := seeded(2)
	for range 20_000 {
		start := anyTime(r)
		cycle := []billing.Cycle{billing.Monthly, billing.Annual}[r.IntN(2)]
		end := billing.Next(start, start, cycle)
		length := end.Sub(start)
		now := start.Add(time.Duration(r.Int64N(int64(length))))
		later := now.Add(time.Duration(r.Int64N(int64(end.Sub(now)))))
		low := r.Int64N(1e9)
		middle := low + r.Int64N(1e9)
		high := middle + r.Int64N(1e10)
		cost := billing.Prorate(low, high, start, end, now)
		require.GreaterOrEqual(t, cost, int64(0))
		require.LessOrEqual(t, cost, high-low)
		require.GreaterOrEqual(t, cost, billing.Prorate(low, high, start, end, later))
		exact := float64(high-low) * float64(end.Sub(now)) / float64(length)
		require.InDelta(t, exact, float64(cost), 1.01)
		steps := billing.Prorate(low, middle, start, end, now) + billing.Prorate(middle, high, start, end, now)
		require.LessOrEqual(t, steps, cost)
		require.LessOrEqual(t, cost-steps, int64(1))
	}
}
