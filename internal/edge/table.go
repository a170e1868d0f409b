package edge

import (
	"sync"
	"time"

	"controlplane/internal/tenants"
)

// table is what the edge knows: host → route. Requests only read it.
type table struct {
	mu     sync.RWMutex
	byHost map[string]tenants.Route
	hosts  map[tenants.ID]string
	state  Status
	dirty  chan struct{} // one slot: something changed since the last copy to disk
}

func newTable() *table {
	return &table{byHost: map[string]tenants.Route{}, hosts: map[tenants.ID]string{}, dirty: make(chan struct{}, 1)}
}

// find returns the route of a host. loaded is false before there is any table at all: then nothing can be said about the host.
func (t *table) find(host string) (route tenants.Route, found, loaded bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	route, found = t.byHost[host]
	return route, found, t.state.Loaded
}

// replace takes a full reading; at is zero for one that isn't PostgreSQL's.
func (t *table) replace(routes []tenants.Route, at time.Time) {
	byHost := make(map[string]tenants.Route, len(routes))
	hosts := make(map[tenants.ID]string, len(routes))
	for _, r := range routes {
		byHost[r.Host] = r
		hosts[r.TenantID] = r.Host
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byHost, t.hosts = byHost, hosts
	t.state.Loaded = true
	if !at.IsZero() {
		t.state.SyncedAt = at
		t.changedLocked()
	}
}

// set stores one tenant's route.
func (t *table) set(r tenants.Route) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(r.TenantID)
	t.byHost[r.Host], t.hosts[r.TenantID] = r, r.Host
	t.changedLocked()
}

// drop forgets a tenant.
func (t *table) drop(id tenants.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(id)
	t.changedLocked()
}

// dropLocked leaves the host alone if it belongs to another tenant by now: names are used again after a deletion.
func (t *table) dropLocked(id tenants.ID) {
	if host, ok := t.hosts[id]; ok && t.byHost[host].TenantID == id {
		delete(t.byHost, host)
	}
	delete(t.hosts, id)
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
	s.Routes = len(t.byHost)
	return s
}

// all returns the routes in no particular order.
func (t *table) all() []tenants.Route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]tenants.Route, 0, len(t.byHost))
	for _, r := range t.byHost {
		list = append(list, r)
	}
	return list
}
