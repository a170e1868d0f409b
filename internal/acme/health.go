package acme

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"controlplane/internal/certs"
)

// Health is how a host's certificate looks to those who run the platform.
type Health struct {
	Host    string
	Trouble string // "" when all is well
}

// State is one word for it.
type State string

// The states.
const (
	Missing  State = "missing"
	Valid    State = "valid"
	Expiring State = "expiring" // its renewal should have worked by now
	Expired  State = "expired"
)

// StateOf returns a certificate's state. It is "expiring" when half of the time for renewing it is over: with ninety days of life, in the
// last fifteen.
func StateOf(r certs.Record, now time.Time) State {
	switch {
	case r.Version == 0:
		return Missing
	case !now.Before(r.NotAfter):
		return Expired
	case r.NotAfter.Sub(now) <= r.NotAfter.Sub(r.RenewAt)/2:
		return Expiring
	}
	return Valid
}

// Trouble says what is wrong, for operators; "" when nothing is. That a customer's domain has no certificate yet is shown to the customer; that the platform
// has none is everybody's.
func Trouble(r certs.Record, now time.Time) string {
	because := ""
	if r.LastError != "" {
		because = fmt.Sprintf(" The last of %d tries failed: %s", r.Failures, r.LastError)
	}
	switch StateOf(r, now) {
	case Expired:
		return fmt.Sprintf("The certificate of %s has expired on %s.%s", r.Host, r.NotAfter.UTC().Format(time.DateTime), because)
	case Expiring:
		return fmt.Sprintf("The certificate of %s expires on %s.%s", r.Host, r.NotAfter.UTC().Format(time.DateTime), because)
	case Missing:
		if strings.HasPrefix(r.Host, "*.") && r.Failures > 0 {
			return fmt.Sprintf("There is no certificate for %s.%s", r.Host, because)
		}
	case Valid:
	}
	return ""
}

// judge tells of who got into trouble, and of those out of it again, also because they aren't wanted any more.
func (k *Keeper) judge(ctx context.Context, wanted Wanted) {
	now := k.deps.Now()
	for host, r := range k.snapshot() {
		if text := Trouble(r, now); text != "" && !k.ill[host] {
			k.tell(ctx, Health{Host: host, Trouble: text})
		}
	}
	if !wanted.Complete {
		return
	}
	records := k.snapshot()
	for host := range k.ill {
		if r, ok := records[host]; !ok || Trouble(r, now) == "" {
			k.tell(ctx, Health{Host: host})
		}
	}
}

func (k *Keeper) tell(ctx context.Context, h Health) {
	if err := k.deps.Tell(ctx, h); err != nil {
		k.deps.Log.WarnContext(ctx, "can't tell of a certificate", "host", h.Host, "trouble", h.Trouble, "error", err)
		return // it is told with the next look
	}
	if h.Trouble == "" {
		delete(k.ill, h.Host)
	} else {
		k.ill[h.Host] = true
	}
}

// snapshot returns the records of the latest look.
func (k *Keeper) snapshot() map[string]certs.Record {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.records)
}

// Summary is how many certificates there are in each state, and when the next one runs out.
type Summary struct {
	Count map[State]int
	Next  time.Time            // zero: there is none
	Wild  map[string]time.Time // when those of the platform run out
}

// Summary returns how things stand by the latest look at the database, which may have been a while ago when it is down.
func (k *Keeper) Summary() Summary {
	s := Summary{Count: map[State]int{Missing: 0, Valid: 0, Expiring: 0, Expired: 0}, Wild: map[string]time.Time{}}
	now := k.deps.Now()
	for host, r := range k.snapshot() {
		s.Count[StateOf(r, now)]++
		if r.Version == 0 {
			continue
		}
		if s.Next.IsZero() || r.NotAfter.Before(s.Next) {
			s.Next = r.NotAfter
		}
		if strings.HasPrefix(host, "*.") {
			s.Wild[host] = r.NotAfter
		}
	}
	return s
}
