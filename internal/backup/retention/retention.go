// Package retention decides which backups stay and which daily ones also stand for their week or month. It is pure: what there is, the
// rule and the time go in, a plan comes out, and a plan that was carried out is followed by an empty one.
package retention

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Rule is how many daily backups stay: of different days, and as the marked ones of different weeks and months.
type Rule struct {
	Daily, Weekly, Monthly int
}

// Default is the rule of a plan that has none of its own.
func Default() Rule { return Rule{Daily: 7, Weekly: 4, Monthly: 3} }

// Doubtful is how long a copy stays after it was found not to be good, for people to look at. It never stands in the way of a good one, and a
// full one stays for longer where no newer one is good: what is damaged may still be mended.
const Doubtful = 7 * 24 * time.Hour

// Copy is a backup that has ended, as far as its keeping goes.
type Copy struct {
	ID       int64
	TakenAt  time.Time
	Daily    bool          // the rule speaks of it; the others have a lifetime
	Lifetime time.Duration // of one that isn't daily
	Full     bool          // it was stored as a whole, database and files, so that something can be restored from it alone
	Good     bool          // it was read back as it was written, and not found wanting since
	BadSince time.Time     // when one that isn't good was found not to be; zero: it never was
	Kept     bool          // by somebody's wish, until they change their mind
	Weekly   bool          // it stands for its week
	Monthly  bool          // it stands for its month
}

// Plan is what is to be done, by id.
type Plan struct {
	Weekly  []int64 // to be marked
	Monthly []int64
	Expired []int64 // to be removed
}

// Make says what to do with the copies of one client. Days, weeks (from Monday) and months are those of zone. The newest good full copy
// stays whatever the rule says, and so do the full ones after it, where none is good all of them.
func Make(rule Rule, copies []Copy, now time.Time, zone *time.Location) Plan {
	copies = slices.Clone(copies)
	slices.SortFunc(copies, func(a, b Copy) int { return cmp.Or(a.TakenAt.Compare(b.TakenAt), cmp.Compare(a.ID, b.ID)) })
	var daily []*Copy // good ones, oldest first
	for i := range copies {
		if copies[i].Daily && copies[i].Good {
			daily = append(daily, &copies[i])
		}
	}
	weekly := func(c *Copy) *bool { return &c.Weekly }
	monthly := func(c *Copy) *bool { return &c.Monthly }
	p := Plan{
		Weekly:  mark(daily, rule.Weekly, week(zone), weekly),
		Monthly: mark(daily, rule.Monthly, month(zone), monthly),
	}
	stays := map[int64]bool{}
	newest(stays, daily, rule.Daily, day(zone), func(*Copy) bool { return true })
	newest(stays, daily, rule.Weekly, week(zone), func(c *Copy) bool { return c.Weekly })
	newest(stays, daily, rule.Monthly, month(zone), func(c *Copy) bool { return c.Monthly })
	lastResort(stays, copies)
	for _, c := range copies {
		if !stays[c.ID] && !c.Kept && over(c, now) {
			p.Expired = append(p.Expired, c.ID)
		}
	}
	return p
}

// over reports whether a copy has nothing more to stay for than its own time.
func over(c Copy, now time.Time) bool {
	age := now.Sub(c.TakenAt)
	switch {
	case !c.Good && !c.BadSince.IsZero():
		return now.Sub(c.BadSince) >= Doubtful
	case !c.Good:
		return age >= Doubtful
	case c.Daily:
		return true
	}
	return age >= c.Lifetime
}

// mark gives each of the newest n periods that has copies a marked one: the oldest, as it will be there longest. It returns the new ones.
func mark(daily []*Copy, n int, period func(time.Time) int, marked func(*Copy) *bool) []int64 {
	var ids []int64
	byPeriod := map[int]*Copy{}
	for _, c := range daily { // the oldest first
		have, ok := byPeriod[period(c.TakenAt)]
		if !ok || *marked(c) && !*marked(have) {
			byPeriod[period(c.TakenAt)] = c
		}
	}
	for _, at := range lastKeys(byPeriod, n) {
		if c := byPeriod[at]; !*marked(c) {
			*marked(c) = true
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// newest lets one copy stay for each of the newest n periods that have one which counts: the newest of it.
func newest(stays map[int64]bool, daily []*Copy, n int, period func(time.Time) int, counts func(*Copy) bool) {
	byPeriod := map[int]*Copy{}
	for _, c := range daily {
		if counts(c) {
			byPeriod[period(c.TakenAt)] = c
		}
	}
	for _, at := range lastKeys(byPeriod, n) {
		stays[byPeriod[at].ID] = true
	}
}

func lastKeys(byPeriod map[int]*Copy, n int) []int {
	keys := slices.Sorted(maps.Keys(byPeriod))
	return keys[max(0, len(keys)-n):]
}

// lastResort lets what a client would be restored from today stay: the newest good one, and what might yet turn out to be better.
func lastResort(stays map[int64]bool, copies []Copy) {
	for _, c := range slices.Backward(copies) { // the newest first
		if !c.Full {
			continue
		}
		stays[c.ID] = true
		if c.Good {
			return
		}
	}
}

func day(zone *time.Location) func(time.Time) int {
	return func(at time.Time) int {
		y, m, d := at.In(zone).Date()
		return int(time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() / (24 * 60 * 60))
	}
}

func week(zone *time.Location) func(time.Time) int {
	return func(at time.Time) int {
		y, w := at.In(zone).ISOWeek()
		return y*100 + w
	}
}

func month(zone *time.Location) func(time.Time) int {
	return func(at time.Time) int {
		y, m, _ := at.In(zone).Date()
		return y*100 + int(m)
	}
}
