package edge

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"controlplane/internal/tenants"
)

const (
	healthSamples = 6
	healthFewest  = 5           // answers of which anything can be said
	healthAgain   = time.Minute // after which it is told again who is failing, though it be the same
	healthTimeout = 5 * time.Second
)

// TenantHealth is how a tenant looks to its users when they get errors: a container may be up and every page broken.
type TenantHealth struct {
	TenantID tenants.ID
	Name     string
	Answers  uint64 // in the last minute, or six HealthIntervals
	Errors   uint64 // of these 5xx
}

// health follows one tenant. Only bad is for others than the sampler.
type health struct {
	bad     atomic.Bool
	samples [healthSamples]healthSample
	next    int
}

type healthSample struct{ passed, broken uint64 }

// watchHealth looks again and again at how everybody has been doing, until ctx ends, and forgets the traffic of tenants that are gone.
// Telling of it takes what time it takes: only the latest state waits to be told.
func (e *Edge) watchHealth(ctx context.Context) {
	states := make(chan []TenantHealth, 1)
	var teller sync.WaitGroup
	teller.Go(func() { e.tellHealth(ctx, states) })
	defer teller.Wait()
	tick := time.NewTicker(e.opts.HealthInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if e.table.expire(now) {
				e.log.ErrorContext(ctx, "edge passes nothing on any more: its routes are too old to be true", "limit", tenants.RoutesLast)
			}
			select {
			case <-states:
			default:
			}
			states <- e.sampleHealth()
		}
	}
}

// tellHealth passes on who is failing when that has changed, and now and then: what isn't repeated is forgotten, so that an edge which
// is gone doesn't keep an alert. A new edge can't say for a while that nobody is.
func (e *Edge) tellHealth(ctx context.Context, states <-chan []TenantHealth) {
	var told []tenants.ID
	var at time.Time
	broken := false
	for looks := 1; ; looks++ {
		var failing []TenantHealth
		select {
		case <-ctx.Done():
			return
		case failing = <-states:
		}
		ids := make([]tenants.ID, len(failing))
		for i, h := range failing {
			ids[i] = h.TenantID
		}
		slices.Sort(ids)
		early := at.IsZero() && looks < healthSamples && len(ids) == 0
		if e.opts.OnHealth == nil || early || slices.Equal(ids, told) && time.Since(at) < healthAgain {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, healthTimeout)
		err := e.opts.OnHealth(bounded, e.copyID, failing)
		cancel()
		if err != nil && !broken && ctx.Err() == nil {
			e.log.WarnContext(ctx, "edge can't tell of its tenants' health", "failing", len(failing), "error", err)
		}
		if broken = err != nil; !broken {
			told, at = ids, time.Now()
		}
	}
}

// sampleHealth returns who is failing.
func (e *Edge) sampleHealth() []TenantHealth {
	routes := map[tenants.ID]*tenants.Route{}
	for _, r := range e.table.all() {
		routes[r.TenantID] = r
	}
	e.traffic.keep(func(id tenants.ID) bool { _, ok := routes[id]; return ok })
	var failing []TenantHealth
	for id, t := range e.traffic.each {
		route, ok := routes[id]
		if !ok {
			continue // it has just come
		}
		answers, broken := t.sample(route.State == tenants.Active)
		if t.health.bad.Load() {
			failing = append(failing, TenantHealth{TenantID: id, Name: route.Name, Answers: answers, Errors: broken})
		}
	}
	return failing
}

// sample compares the counts with those of six intervals ago. A tenant that isn't meant to be reached isn't ill, and one that was ill is well
// again when nine of ten answers are.
func (t *traffic) sample(active bool) (answers, broken uint64) {
	h := &t.health
	count := healthSample{passed: t.passed.Load(), broken: t.broken.Load()}
	before := h.samples[h.next]
	h.samples[h.next] = count
	h.next = (h.next + 1) % healthSamples
	answers = count.passed - before.passed
	broken = min(count.broken-before.broken, answers)
	switch {
	case !active:
		h.bad.Store(false)
	case answers >= healthFewest && broken*2 >= answers:
		h.bad.Store(true)
	case answers > 0 && broken*10 <= answers:
		h.bad.Store(false)
	}
	return answers, broken
}
