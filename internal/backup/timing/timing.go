// Package timing says when a client's backups are due. It is pure, and all processes come to the same answer: what spreads clients over
// the night, and moves them a little from one night to the next, is drawn from their id and the date.
package timing

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// Night is when daily backups are taken.
type Night struct {
	Zone   *time.Location
	Begin  time.Duration // after midnight by the clock on the wall
	Spread time.Duration // clients begin within this time
}

// jitter is how far one night's time is from another's, so that a client's backup doesn't meet the same job of its own each night.
const jitter = 10 * time.Minute

// DefaultNight is from two o'clock, spread over two hours.
func DefaultNight(zone *time.Location) Night {
	return Night{Zone: zone, Begin: 2 * time.Hour, Spread: 2 * time.Hour}
}

// Slots are the times of a client's backups of one kind.
type Slots interface {
	// Last is the latest time that isn't after now.
	Last(now time.Time) time.Time
	// Next is the first time after now.
	Next(now time.Time) time.Time
}

// Daily returns the times of a client's daily backups.
func (n Night) Daily(client int64) Slots { return daily{n, client} }

// Hourly returns the times of a client's hourly copies: a minute of its own.
func Hourly(client int64) Slots { return round{time.Hour, draw(time.Hour, client, "hourly")} }

// Weekly returns the times at which a client's turn comes once a week: a second of the week of its own.
func Weekly(client int64) Slots { return round{week, draw(week, client, "weekly")} }

const week = 7 * 24 * time.Hour

type daily struct {
	night  Night
	client int64
}

func (d daily) slot(year int, month time.Month, day int) time.Time {
	date := time.Date(year, month, day, 0, 0, 0, 0, d.night.Zone)
	at := time.Date(year, month, day, 0, 0, int(d.night.Begin/time.Second), 0, d.night.Zone)
	moved := min(jitter, d.night.Spread)
	return at.Add(draw(d.night.Spread-moved, d.client, "night") + draw(moved, d.client, date.Format(time.DateOnly)))
}

func (d daily) Last(now time.Time) time.Time {
	year, month, day := now.In(d.night.Zone).Date()
	for back := 0; ; back++ {
		if at := d.slot(year, month, day-back); !at.After(now) {
			return at
		}
	}
}

func (d daily) Next(now time.Time) time.Time {
	year, month, day := now.In(d.night.Zone).Date()
	for ahead := -1; ; ahead++ { // a night that begins late lasts into the next day
		if at := d.slot(year, month, day+ahead); at.After(now) {
			return at
		}
	}
}

// round comes again and again after the same time.
type round struct{ period, past time.Duration }

func (r round) Last(now time.Time) time.Time { return now.Add(-r.past).Truncate(r.period).Add(r.past) }

func (r round) Next(now time.Time) time.Time { return r.Last(now).Add(r.period) }

// draw is a number below most, evenly spread over clients, and always the same.
func draw(most time.Duration, client int64, what string) time.Duration {
	if most <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(what+"/"), uint64(client))) //nolint:gosec // any bits will do
	return time.Duration(mix(h.Sum64()) % uint64(most)).Truncate(time.Second)       //nolint:gosec // below most
}

// mix spreads what FNV leaves in the lower bits over all of them.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// History is what is known of a client's copies of one kind.
type History struct {
	Since   time.Time // when there first was something to copy
	Covered time.Time // when the last good copy, of this kind or one that holds more, began
	Tried   time.Time // when the last one was asked for, whatever came of it
}

// RetryAfter is how long a client whose copy failed waits for the next try, unless its next time is sooner.
const RetryAfter = time.Hour

// Due reports whether a copy should be asked for now. What was missed is made up for once.
func Due(s Slots, h History, now time.Time) bool {
	last := s.Last(now)
	begun := h.Covered
	if h.Since.After(begun) {
		begun = h.Since
	}
	if !begun.Before(last) {
		return false
	}
	return h.Tried.Before(last) || now.Sub(h.Tried) >= RetryAfter
}
