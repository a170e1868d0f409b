package billing

import (
	"math/big"
	"time"
)

// term is a paid time at one plan's price.
type term struct {
	anchor     time.Time
	start, end time.Time
	cycle      Cycle
}

// Prorate returns what is to be paid for having, from now to the end of a period, what costs newKobo a period in place of what costs
// oldKobo: the difference's share of the time that is left, rounded down to a whole kobo. Nothing is left after the end, all before
// the start; a cheaper plan costs nothing.
func Prorate(oldKobo, newKobo int64, start, end, now time.Time) int64 {
	if newKobo <= oldKobo || !start.Before(end) || !now.Before(end) {
		return 0
	}
	if now.Before(start) {
		now = start
	}
	share := new(big.Int).Mul(big.NewInt(newKobo-oldKobo), big.NewInt(int64(end.Sub(now))))
	return share.Quo(share, big.NewInt(int64(end.Sub(start)))).Int64()
}

// upgradeCost is Prorate over all the time that is paid for: a subscription that was renewed early has the rest of one period and the
// whole of the next.
func upgradeCost(t term, oldKobo, newKobo int64, now time.Time) int64 {
	cost := Prorate(oldKobo, newKobo, t.start, t.end, now)
	if now.Before(t.start) {
		cost += Prorate(oldKobo, newKobo, previous(t.anchor, t.start, t.cycle), t.start, now)
	}
	return cost
}
