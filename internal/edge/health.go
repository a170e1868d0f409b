package edge

import (
	"context"
	"sync/atomic"
	"time"

	"controlplane/internal/tenants"
)

const (
	healthSamples = 6
	healthFewest  = 5 // answers of which anything can be said
)

// TenantHealth is how a tenant looks to its users: a container may be up and every page an error.
type TenantHealth struct {
	TenantID tenants.ID
	Name     string
	Healthy  bool
	Answers  uint64 // in the last minute, or six HealthIntervals
	Errors   uint64 // of these 5xx
}

// health follows one tenant. Only bad is for others than the sampler.
type health struct {
	bad     atomic.Bool
	told    string // what OnHealth was told: "good", "bad", "" nothing yet
	samples [healthSamples]healthSample
	next    int
}

type healthSample struct{ passed, broken uint64 }

// watchHealth looks again and again at how everybody has been doing, until ctx ends, and forgets the traffic of tenants that are gone.
func (e *Edge) watchHealth(ctx context.Context) {
	tick := time.NewTicker(e.opts.HealthInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.sampleHealth(ctx)
		}
	}
}

func (e *Edge) sampleHealth(ctx context.Context) {
	routes := map[tenants.ID]tenants.Route{}
	for _, r := range e.table.all() {
		routes[r.TenantID] = r
	}
	e.traffic.keep(func(id tenants.ID) bool { _, ok := routes[id]; return ok })
	for id, t := range e.traffic.each {
		route := routes[id]
		now := t.sample(route.State == tenants.Active)
		now.TenantID, now.Name = id, route.Name
		e.tell(ctx, t, now)
	}
}

// tell passes on what has changed. That all is well is told once even if nothing was wrong: an edge before this one may have told
// otherwise.
func (e *Edge) tell(ctx context.Context, t *traffic, now TenantHealth) {
	word := "good"
	if !now.Healthy {
		word = "bad"
	}
	if e.opts.OnHealth == nil || word == t.health.told || now.Healthy && now.Answers == 0 {
		return
	}
	if err := e.opts.OnHealth(ctx, now); err != nil {
		e.log.WarnContext(ctx, "edge couldn't tell of a tenant's health", "tenant", now.Name, "healthy", now.Healthy, "error", err)
		return
	}
	t.health.told = word
}

// sample compares the counts with those of six intervals ago. A tenant that isn't meant to be reached isn't ill, and one that was ill is well
// again when nine of ten answers are.
func (t *traffic) sample(active bool) TenantHealth {
	h := &t.health
	count := healthSample{passed: t.passed.Load(), broken: t.broken.Load()}
	before := h.samples[h.next]
	h.samples[h.next] = count
	h.next = (h.next + 1) % healthSamples
	answers, broken := count.passed-before.passed, min(count.broken-before.broken, count.passed-before.passed)
	switch {
	case !active:
		h.bad.Store(false)
	case answers >= healthFewest && broken*2 >= answers:
		h.bad.Store(true)
	case answers > 0 && broken*10 <= answers:
		h.bad.Store(false)
	}
	return TenantHealth{Healthy: !h.bad.Load(), Answers: answers, Errors: broken}
}
