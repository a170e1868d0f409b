package edge

import (
	"reflect"
	"sync"
	"time"

	"controlplane/internal/tenants"
)

// table is what the edge knows: host → route, for each tenant's platform address and its own domains. Requests only read it. Routes in it
// never change: another one takes their place.
type table struct {
	mu      sync.RWMutex
	byHost  map[string]*tenants.Route
	byID    map[tenants.ID]*tenants.Route
	state   Status
	touched map[tenants.ID]bool // since beginReading; nil: nobody is reading
	unsaved map[tenants.ID]bool // since the last copy to disk
	dirty   chan struct{}       // one slot: there is something for the copy on disk
}

func newTable() *table {
	return &table{
		byHost: map[string]*tenants.Route{}, byID: map[tenants.ID]*tenants.Route{}, unsaved: map[tenants.ID]bool{}, dirty: make(chan struct{}, 1),
	}
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

// ownerOf returns whose own domain or address a host is; "": nobody's.
func (t *table) ownerOf(host string) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r, ok := t.byHost[host]; ok {
		return r.TenantID.String()
	}
	return ""
}

// beginReading notes, until a full reading is merged, what is set and dropped: that is newer than what will have been read.
func (t *table) beginReading() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.touched = map[tenants.ID]bool{}
}

// merge takes over a full reading as of a time of PostgreSQL's. Requests wait only while differences are entered, of which there are
// few after the first reading. It reports whether there are own domains that weren't there before.
func (t *table) merge(routes []tenants.Route, asOf time.Time) (newDomains bool) {
	changed, gone := t.compare(routes)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range gone {
		if !t.touched[id] {
			t.dropLocked(id)
		}
	}
	for _, r := range changed {
		if !t.touched[r.TenantID] {
			newDomains = t.setLocked(r) || newDomains
		}
	}
	t.touched = nil
	t.state.Loaded, t.state.AsOf = true, asOf
	return newDomains
}

// compare returns what is different in the table, and what isn't in the reading.
func (t *table) compare(routes []tenants.Route) (changed []*tenants.Route, gone []tenants.ID) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	read := make(map[tenants.ID]bool, len(routes))
	for i := range routes {
		r := &routes[i]
		read[r.TenantID] = true
		if now, ok := t.byID[r.TenantID]; !ok || !reflect.DeepEqual(now, r) {
			changed = append(changed, r)
		}
	}
	for id := range t.byID {
		if !read[id] {
			gone = append(gone, id)
		}
	}
	return changed, gone
}

// set stores one tenant's route, and reports whether it has own domains that it hadn't before.
func (t *table) set(r tenants.Route) (newDomains bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer t.wakeLocked()
	return t.setLocked(&r)
}

func (t *table) setLocked(r *tenants.Route) (newDomains bool) {
	for _, domain := range r.Domains {
		now, ok := t.byHost[domain]
		newDomains = newDomains || !ok || now.TenantID != r.TenantID
	}
	t.dropLocked(r.TenantID)
	t.byID[r.TenantID], t.byHost[r.Host] = r, r
	for _, domain := range r.Domains {
		t.byHost[domain] = r
	}
	return newDomains
}

// drop forgets a tenant.
func (t *table) drop(id tenants.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(id)
	t.wakeLocked()
}

// dropLocked leaves a host alone that belongs to another tenant by now: names are used again after a deletion, and domains go to who
// proves them.
func (t *table) dropLocked(id tenants.ID) {
	t.unsaved[id] = true
	if t.touched != nil {
		t.touched[id] = true
	}
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

// synced notes that the table is PostgreSQL's, as of its time.
func (t *table) synced(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state.SyncedAt = at
	t.wakeLocked()
}

// expire empties a table that is too old: an address in it may be another tenant's by now.
func (t *table) expire(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.state.Loaded || now.Sub(t.state.AsOf) < tenants.RoutesLast {
		return false
	}
	for id := range t.byID {
		t.unsaved[id] = true // who is gone by the next reading has to go from the copy on disk, too
	}
	t.byHost, t.byID, t.state.Loaded = map[string]*tenants.Route{}, map[tenants.ID]*tenants.Route{}, false
	return true
}

func (t *table) wakeLocked() {
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
func (t *table) all() []*tenants.Route {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]*tenants.Route, 0, len(t.byID))
	for _, r := range t.byID {
		list = append(list, r)
	}
	return list
}

// changes returns the tenants whose routes were set or dropped since the last call, with nil for those who have none, and since when all
// of the table is so.
func (t *table) changes() (changed map[tenants.ID]*tenants.Route, asOf time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	changed = make(map[tenants.ID]*tenants.Route, len(t.unsaved))
	for id := range t.unsaved {
		changed[id] = t.byID[id]
	}
	t.unsaved = map[tenants.ID]bool{}
	return changed, t.state.AsOf
}
