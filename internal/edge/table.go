package edge

import (
	"sync"
	"time"

	"controlplane/internal/tenants"
)

// table is what the edge knows: host → route, for each tenant's platform address and its own domains. Requests only read it.
type table struct {
	mu     sync.RWMutex
	byHost map[string]*tenants.Route
	byID   map[tenants.ID]*tenants.Route
	state  Status
	dirty  chan struct{} // one slot: something changed since the last copy to disk
}

func newTable() *table {
	return &table{byHost: map[string]*tenants.Route{}, byID: map[tenants.ID]*tenants.Route{}, dirty: make(chan struct{}, 1)}
}

// find returns the route of a host. loaded is false before there is any table at all: then nothing can be said about the host.
func (t *table) find(host string) (route tenants.Route, found, loaded bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r, ok := t.byHost[host]; ok {
		return *r, true, t.state.Loaded
	}
	return tenants.Route{}, false, t.state.Loaded
}

// ownDomain reports whether host is a domain that a tenant has proven to be its own, and not an address of the platform's.
func (t *table) ownDomain(host string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	r, ok := t.byHost[host]
	return ok && r.Host != host
}

// replace takes a full reading; at is zero for one that isn't PostgreSQL's.
func (t *table) replace(routes []tenants.Route, at time.Time) {
	byHost := make(map[string]*tenants.Route, len(routes)*2)
	byID := make(map[tenants.ID]*tenants.Route, len(routes))
	for i := range routes {
		enter(byHost, byID, &routes[i])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byHost, t.byID = byHost, byID
	t.state.Loaded = true
	if !at.IsZero() {
		t.state.SyncedAt = at
		t.changedLocked()
	}
}

func enter(byHost map[string]*tenants.Route, byID map[tenants.ID]*tenants.Route, r *tenants.Route) {
	byID[r.TenantID], byHost[r.Host] = r, r
	for _, domain := range r.Domains {
		byHost[domain] = r
	}
}

// set stores one tenant's route.
func (t *table) set(r tenants.Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(r.TenantID)
	enter(t.byHost, t.byID, &r)
	t.changedLocked()
}

// drop forgets a tenant.
func (t *table) drop(id tenants.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(id)
	t.changedLocked()
}

// dropLocked leaves a host alone that belongs to another tenant by now: names are used again after a deletion, and domains go to who
// proves them.
func (t *table) dropLocked(id tenants.ID) {
	r, ok := t.byID[id]
	if !ok {
		return
	}
	for _, host := range append([]string{r.Host}, r.Domains...) {
		if now, ok := t.byHost[host]; ok && now.TenantID == id {
			delete(t.byHost, host)
		}
	}
	delete(t.byID, id)
}

func (t *table) changedLocked() {
	select {
	case t.dirty <- struct{}{}:
	default:
	}
}

func (t *table) setConnected(connected bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.Connected = connected
}

func (t *table) status() Status {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.state
	s.Routes = len(t.byID)
	return s
}

// all returns the routes in no particular order.
func (t *table) all() []tenants.Route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]tenants.Route, 0, len(t.byID))
	for _, r := range t.byID {
		list = append(list, *r)
	}
	return list
}
