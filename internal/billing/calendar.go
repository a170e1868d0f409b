package billing

import "time"

// Next returns the end of the period that begins at end, for a subscription whose first period began at anchor: a month or a year on, at
// the anchor's day of the month or the month's last day, whichever is sooner. A month that was too short doesn't shorten the ones after
// it: 31 January, 28 February, 31 March. All in UTC.
func Next(anchor, end time.Time, cycle Cycle) time.Time { return shift(anchor, end, cycle.months()) }

// previous returns when the period that ends at end began.
func previous(anchor, end time.Time, cycle Cycle) time.Time {
	return shift(anchor, end, -cycle.months())
}

func (c Cycle) months() int {
	if c == Annual {
		return 12
	}
	return 1
}

func shift(anchor, from time.Time, months int) time.Time {
	anchor, from = anchor.UTC(), from.UTC()
	first := time.Date(from.Year(), from.Month()+time.Month(months), 1, 0, 0, 0, 0, time.UTC)
	day := min(anchor.Day(), first.AddDate(0, 1, -1).Day())
	return time.Date(first.Year(), first.Month(), day, anchor.Hour(), anchor.Minute(), anchor.Second(), anchor.Nanosecond(), time.UTC)
}
