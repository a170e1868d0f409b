package acme

import "controlplane/internal/certs"

// lane keeps those who wait for their first certificate from waiting for renewals, and both from waiting for those whose orders fail, which
// may take a minute each.
type lane int

const (
	first lane = iota // there was none yet, and nothing has failed
	renewal
	rough // something has failed since the last success
	lanes
)

// room returns how many orders are under way at a time.
func (l lane) room() int { return [lanes]int{first: 8, renewal: 4, rough: 4}[l] }

// share is how many first orders of one owner's are under way at a time: each may take a minute when its name servers are slow.
const share = 3

func laneOf(r certs.Record) lane {
	switch {
	case r.Failures > 0:
		return rough
	case r.Version > 0:
		return renewal
	}
	return first
}
