package edge

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"controlplane/internal/tenants"
)

// latencyBounds are the upper bounds of the latency histogram's buckets; one more is for what took longer.
var latencyBounds = [...]time.Duration{ //nolint:gochecknoglobals // a constant table
	10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// traffic is what has gone to one tenant, or to one of the other subjects, since the edge started.
type traffic struct {
	open     atomic.Int64     // requests and WebSockets at this moment
	classes  [6]atomic.Uint64 // answers by their status' first digit
	passed   atomic.Uint64    // answers to what was passed on
	broken   atomic.Uint64    // of these 5xx, Odoo's own or because it couldn't be asked
	limited  atomic.Uint64    // turned away by the limit per address
	full     atomic.Uint64    // turned away by the limit of connections
	received atomic.Uint64    // bytes of bodies
	sent     atomic.Uint64    // bytes of bodies, as sent
	buckets  [len(latencyBounds) + 1]atomic.Uint64
	micros   atomic.Uint64 // all latencies together

	health health // of the sampler alone
}

// enter counts one more open request, unless there are max already.
func (t *traffic) enter(most int64) bool {
	if t.open.Add(1) <= most {
		return true
	}
	t.open.Add(-1)
	t.full.Add(1)
	return false
}

// leave ends what enter began.
func (t *traffic) leave() { t.open.Add(-1) }

// count takes one answer. A WebSocket's time is no latency.
func (t *traffic) count(a answered) {
	class := a.status / 100
	if class < 1 || class > 5 {
		class = 0
	}
	t.classes[class].Add(1)
	t.received.Add(uint64(max(a.received, 0)))
	t.sent.Add(uint64(max(a.sent, 0)))
	if a.passed {
		t.passed.Add(1)
		if a.status >= http.StatusInternalServerError {
			t.broken.Add(1)
		}
	}
	if a.status == http.StatusSwitchingProtocols {
		return
	}
	bucket := len(latencyBounds)
	for i, bound := range latencyBounds {
		if a.took <= bound {
			bucket = i
			break
		}
	}
	t.buckets[bucket].Add(1)
	t.micros.Add(uint64(max(a.took.Microseconds(), 0)))
}

// answered is how one request went.
type answered struct {
	status         int // 0: the client was gone before there was an answer
	passed         bool
	received, sent int64
	took           time.Duration
}

// trafficBook has the traffic of each tenant that has had any, of the API, and of all hosts that are nobody's.
type trafficBook struct {
	tenants     sync.Map // tenants.ID → *traffic
	api, nobody traffic
}

func (b *trafficBook) of(id tenants.ID) *traffic {
	if found, ok := b.tenants.Load(id); ok {
		return found.(*traffic) //nolint:errcheck // nothing else is in it
	}
	found, _ := b.tenants.LoadOrStore(id, new(traffic))
	return found.(*traffic) //nolint:errcheck // nothing else is in it
}

// keep forgets all tenants but those that keep approves of.
func (b *trafficBook) keep(keep func(tenants.ID) bool) {
	for key := range b.tenants.Range {
		if id, ok := key.(tenants.ID); ok && !keep(id) {
			b.tenants.Delete(key)
		}
	}
}

// each yields the tenants' traffic.
func (b *trafficBook) each(yield func(tenants.ID, *traffic) bool) {
	b.tenants.Range(func(key, value any) bool {
		id, _ := key.(tenants.ID)
		t, _ := value.(*traffic)
		return yield(id, t)
	})
}
