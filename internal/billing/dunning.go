package billing

import (
	"slices"
	"time"

	"controlplane/internal/tenants"
)

// Dunning says how an unpaid client is asked, and what becomes of it. Days count from the end of the period, without time in which the
// gateway or we were down.
type Dunning struct {
	Days         []int         // of the attempts; default 0, 1, 3, 7
	SuspendAfter int           // days; not before the last attempt; default 7
	DeleteAfter  int           // days until the deletion is scheduled; default 28
	Undo         time.Duration // from then to the deletion, also of a cancelled client; default 72 h
	Remind       int           // days before a period's end; default 3
}

func (d Dunning) withDefaults() Dunning {
	if len(d.Days) == 0 {
		d.Days = []int{0, 1, 3, 7}
	}
	d.Days = slices.Compact(slices.Sorted(slices.Values(d.Days)))
	if d.SuspendAfter == 0 {
		d.SuspendAfter = 7
	}
	d.SuspendAfter = max(d.SuspendAfter, d.Days[len(d.Days)-1])
	if d.DeleteAfter == 0 {
		d.DeleteAfter = 28
	}
	d.DeleteAfter = max(d.DeleteAfter, d.SuspendAfter)
	if d.Undo == 0 {
		d.Undo = 72 * time.Hour
	}
	if d.Remind == 0 {
		d.Remind = 3
	}
	return d
}

func days(n int) time.Duration { return time.Duration(n) * 24 * time.Hour }

// act is what is to be done about a subscription now.
type act string

const (
	rest        act = "rest"
	remind      act = "remind"       // the owner is told of the coming end
	charge      act = "charge"       // the next attempt
	chargeAgain act = "charge again" // the present attempt, which never reached the gateway
	announce    act = "announce"     // the owner is told that an attempt came to nothing, with a link
	suspend     act = "suspend"
	giveUp      act = "give up" // the deletion is scheduled
	finish      act = "finish"  // nothing is left to be paid for
)

// final reports whether an act must not be done before the gateway was asked whether it has been paid. A link is sent to somebody whose card's
// bank doesn't decide only if it still hasn't.
func (d decision) final(x situation) bool {
	return d.act == charge || d.act == chargeAgain || d.act == suspend || d.act == giveUp || d.act == announce && x.attempts.undecided
}

// situation is all that the next act depends on.
type situation struct {
	sub      Subscription
	tenant   tenants.Tenant
	attempts attempts
	covered  bool          // the account's credit is enough for the coming period
	counted  time.Duration // since sub.since(), less what is excused
	now      time.Time
}

// decision is an act; for rest, until when.
type decision struct {
	act   act
	until time.Time
}

const (
	chargeLook = 10 * time.Minute // how soon an undecided charge is looked at again
	dueLook    = time.Hour        // how soon anything else that is due is
)

// decide is the whole of dunning; it knows no database and no clock.
func (d Dunning) decide(x situation) decision {
	s := x.sub
	wait := decision{rest, x.now.Add(dueLook)}
	switch {
	case s.Status == SubscriptionEnded, x.tenant.State == tenants.Deleting, x.tenant.State == tenants.Deleted:
		return decision{act: finish}
	case x.now.Before(s.PeriodEnd):
		if x.now.Before(s.PeriodEnd.Add(-days(d.Remind))) {
			return decision{rest, s.PeriodEnd.Add(-days(d.Remind))}
		}
		return decision{remind, s.PeriodEnd}
	case x.covered && !x.attempts.open && s.Status == SubscriptionPastDue && s.Stage > 0 && (served(x.tenant.State) || s.DeletionAt != nil):
		return decision{act: chargeAgain} // at any time: nobody need wait for the day of an attempt
	case s.DeletionAt != nil:
		if x.tenant.State == tenants.Scheduled || x.now.Before(*s.DeletionAt) {
			return wait
		}
		return decision{act: giveUp} // somebody cancelled the deletion, but didn't pay
	case x.tenant.State == tenants.Scheduled, !served(x.tenant.State):
		return wait
	case s.Status == SubscriptionCancelled:
		return decision{act: giveUp}
	case x.attempts.waiting:
		return decision{rest, x.now.Add(chargeLook)}
	case s.Stage > s.Announced && x.attempts.lastLost && !x.attempts.open && !x.attempts.undecided:
		return decision{act: chargeAgain}
	case s.Stage > s.Announced:
		return decision{act: announce}
	}
	next, after := d.next(s)
	if left := after - x.counted; left > 0 {
		return decision{rest, x.now.Add(min(left, dueLook))}
	}
	return decision{act: next}
}

// next is the step that follows when it isn't paid, and how long after the one before.
func (d Dunning) next(s Subscription) (act, time.Duration) {
	switch {
	case s.SuspendedAt != nil:
		return giveUp, days(d.DeleteAfter - d.SuspendAfter)
	case s.Stage >= len(d.Days):
		return suspend, days(d.SuspendAfter - d.Days[len(d.Days)-1])
	case s.Stage == 0:
		return charge, days(d.Days[0])
	}
	return charge, days(d.Days[s.Stage] - d.Days[s.Stage-1])
}

// served reports whether a client is there that money may be asked for.
func served(state tenants.State) bool {
	return state == tenants.Active || state == tenants.Suspended || state == tenants.Sleeping
}
