package provision

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"controlplane/internal/tenants"
)

const (
	healthMisses  = 3 // probes in a row that an Odoo may miss before it is started anew
	maxDisruptive = 2 // running tenants that one reconciliation may interrupt, so that a mistake of ours doesn't stop everybody at once
)

// TenantView is what the reconciliation knows of a tenant that isn't deleted.
type TenantView struct {
	ID      tenants.ID
	Name    string
	DBName  string
	Volume  string // tenants.Tenant's DataVolume
	State   tenants.State
	Desired tenants.Desired
	WasLive bool   // it was active once, so there may be data of its owner
	Busy    bool   // an operation on it is going on
	Held    string // kind of the one that is held; "" for none
	Subnet  netip.Prefix
	Plan    tenants.Plan // its limits
	Spec    string       // hash of the spec that its container should have; "" when that can't be told
	Misses  int          // health probes missed in a row

	QuarantinedAt *time.Time // its container has another address then
}

func (v TenantView) tenant() tenants.Tenant {
	return tenants.Tenant{ID: v.ID, Name: v.Name, DBName: v.DBName, DataVolume: v.Volume, QuarantinedAt: v.QuarantinedAt}
}

// TemplateView is what the reconciliation knows of a template.
type TemplateView struct {
	Name   string
	Ready  bool
	Busy   bool // its building is going on, or held
	Needed bool // by a plan, by an operation, or until another takes its place
}

// Worlds is what should be and what is.
type Worlds struct {
	Tenants   []TenantView
	Templates []TemplateView
	Shared    []string // names of engine objects that all templates share
	Engine    EngineObjects
	Cluster   []ClusterObject
	NoCluster bool // the database server couldn't be asked
}

// Mending is an operation that a tenant needs.
type Mending struct {
	Tenant  TenantView
	Kind    string
	Finding string
	Restart bool // its Odoo runs and doesn't answer
	Instead bool // of the operation that is held
}

// Plan is what follows from the difference of two worlds. It has no orphan that belongs to a tenant which isn't deleted, but for ones in the
// way of a tenant that has never been active.
type Plan struct {
	Mend    []Mending
	Missing map[tenants.ID]string // data that is gone, and that nothing will make anew
	Orphans []Orphan
	Later   int // mendings put off, as enough tenants are interrupted already
}

// MakePlan compares. It is pure.
func MakePlan(w Worlds) Plan {
	p := Plan{Missing: map[tenants.ID]string{}, Orphans: findOrphans(w)}
	at := indexOf(w)
	disruptions := 0
	for _, v := range w.Tenants {
		missing := at.missing(v)
		if missing != "" {
			p.Missing[v.ID] = missing
		}
		if v.Busy {
			continue
		}
		m, disruptive := at.mend(v, missing)
		if m.Kind == "" {
			continue
		}
		if v.Held != "" {
			// A person looks at it. A resize is no reason to leave a client without its Odoo meanwhile.
			if v.Held != tenants.ResizeKind || m.Kind == tenants.ResizeKind || disruptive {
				continue
			}
			m.Instead = true
		}
		if disruptive {
			if disruptions == maxDisruptive {
				p.Later++
				continue
			}
			disruptions++
		}
		m.Tenant = v
		p.Mend = append(p.Mend, m)
	}
	return p
}

// index finds things by owner and name.
type index struct {
	containers map[string]ContainerObject
	networks   map[string]NetworkObject
	volumes    map[string]Object
	cluster    map[string]ClusterObject
	noCluster  bool
	cores      int // 0: not known
}

func indexOf(w Worlds) index {
	at := index{map[string]ContainerObject{}, map[string]NetworkObject{}, map[string]Object{}, map[string]ClusterObject{}, w.NoCluster, w.Engine.Cores}
	for _, c := range w.Engine.Containers {
		at.containers[c.Owner+" "+c.Name] = c
	}
	for _, n := range w.Engine.Networks {
		at.networks[n.Owner+" "+n.Name] = n
	}
	for _, v := range w.Engine.Volumes {
		at.volumes[v.Owner+" "+v.Name] = v
	}
	for _, d := range w.Cluster {
		at.cluster[d.Owner+" "+d.Name] = d
	}
	return at
}

func (at index) container(v TenantView) (ContainerObject, bool) {
	c, ok := at.containers[v.ID.Subject()+" "+containerName(v.tenant())]
	return c, ok
}

// cpu is what a container of the plan can have on this host.
func (at index) cpu(p tenants.Plan) int {
	if at.cores == 0 {
		return p.CPUMilli
	}
	return min(p.CPUMilli, at.cores*1000)
}

// hasData reports whether a tenant in the state has a database and a filestore, and keeps them.
func hasData(v TenantView) bool {
	switch v.State {
	case tenants.Active, tenants.Suspended, tenants.Sleeping:
		return true
	case tenants.Scheduled, tenants.Failed, tenants.Maintenance:
		return v.WasLive
	case tenants.Pending, tenants.Provisioning, tenants.Deleting, tenants.Deleted:
	}
	return false
}

// missing says what data of the tenant is gone.
func (at index) missing(v TenantView) string {
	if !hasData(v) {
		return ""
	}
	if d, ok := at.cluster[v.ID.Subject()+" "+v.DBName]; !at.noCluster && (!ok || !d.Database) {
		return "database " + v.DBName + " is gone"
	}
	if _, ok := at.volumes[v.ID.Subject()+" "+dataVolume(v.tenant())]; !ok {
		return "volume " + dataVolume(v.tenant()) + " is gone"
	}
	return ""
}

// mend says what the tenant needs, and whether that interrupts somebody's work.
func (at index) mend(v TenantView, missing string) (m Mending, disruptive bool) {
	c, exists := at.container(v)
	running := exists && c.Running
	switch v.State {
	case tenants.Provisioning:
		return Mending{Kind: tenants.ProvisionKind, Finding: "nobody provisions it"}, false
	case tenants.Deleting:
		return Mending{Kind: tenants.DeleteKind, Finding: "nobody deletes it"}, false
	case tenants.Active:
		if v.Desired == tenants.WantsSuspended {
			return Mending{Kind: tenants.SuspendKind, Finding: "should be suspended"}, false
		}
		if missing != "" { // held by its first step, which makes nothing anew
			return Mending{Kind: tenants.ResumeKind, Finding: missing}, false
		}
		return at.mendActive(v, c, exists)
	case tenants.Suspended, tenants.Scheduled:
		switch {
		case v.Desired == tenants.WantsActive:
			return Mending{Kind: tenants.ResumeKind, Finding: "should be active"}, false
		case v.Desired != tenants.WantsActive && running:
			return Mending{Kind: tenants.StopKind, Finding: "runs and shouldn't"}, false
		}
	case tenants.Pending, tenants.Sleeping, tenants.Maintenance, tenants.Failed, tenants.Deleted:
	}
	return Mending{}, false
}

func (at index) mendActive(v TenantView, c ContainerObject, exists bool) (m Mending, disruptive bool) {
	resume := func(format string, args ...any) Mending {
		return Mending{Kind: tenants.ResumeKind, Finding: fmt.Sprintf(format, args...)}
	}
	network, hasNetwork := at.networks[v.ID.Subject()+" "+networkName(v.tenant())]
	d := at.cluster[v.ID.Subject()+" "+v.DBName]
	switch {
	case !exists:
		return resume("container is gone"), false
	case !c.Running:
		return resume("container has stopped with exit code %d", c.ExitCode), false
	case !hasNetwork:
		return resume("network is gone"), true
	case v.Subnet.IsValid() && network.Subnet != v.Subnet:
		return resume("network has subnet %s instead of %s", network.Subnet, v.Subnet), true
	case at.volumeGone(v):
		return resume("a volume is gone"), true
	case v.Spec != "" && c.SpecHash != v.Spec:
		return resume("container is of an old spec"), true
	case v.Misses >= healthMisses:
		m := resume("Odoo hasn't answered %d times", v.Misses)
		m.Restart = true
		return m, true
	case c.MemoryMB != v.Plan.MemoryMB || c.CPUMilli != at.cpu(v.Plan) || c.PIDs != v.Plan.PIDs:
		return Mending{Kind: tenants.ResizeKind, Finding: "limits of the container differ from the plan's"}, false
	case !at.noCluster && d.Role && d.ConnectionLimit < v.Plan.DBConnections: // a higher one is what its Odoo began with
		return Mending{Kind: tenants.ResizeKind, Finding: "connection limit is below the plan's"}, false
	case !at.noCluster && d.Role && d.Unbounded:
		return Mending{Kind: tenants.ResizeKind, Finding: "its queries may write temporary files without a limit"}, false
	}
	return Mending{}, false
}

func (at index) volumeGone(v TenantView) bool {
	return slices.ContainsFunc([]string{addonsVolume(v.tenant()), configVolume(v.tenant())}, func(name string) bool {
		_, ok := at.volumes[v.ID.Subject()+" "+name]
		return !ok
	})
}
