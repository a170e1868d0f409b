package provision_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

const todaysSpec = "spec-2"

// sim is a world that plans are applied to.
type sim struct {
	*testing.T
	provision.Worlds
	next int // for ids
}

func (s *sim) object(kind provision.ObjectKind, name, owner string) provision.Object {
	s.next++
	return provision.Object{Kind: kind, Name: name, ID: fmt.Sprint(s.next), Owner: owner}
}

func volumesOf(v provision.TenantView) []string {
	return []string{"odoo_" + v.Name + "_data", "odoo_" + v.Name + "_addons", "odoo_" + v.Name + "_config"}
}

// make gives the tenant all that it should have; what is there already stays as it is.
func (s *sim) make(v provision.TenantView, running bool) {
	own := v.ID.Subject()
	s.Engine.Networks = append(slices.DeleteFunc(s.Engine.Networks, func(n provision.NetworkObject) bool { return n.Owner == own }),
		provision.NetworkObject{Object: s.object(provision.KindNetwork, v.Name+"_network", own), Subnet: v.Subnet})
	for _, name := range volumesOf(v) {
		if !slices.ContainsFunc(s.Engine.Volumes, func(o provision.Object) bool { return o.Owner == own && o.Name == name }) {
			s.Engine.Volumes = append(s.Engine.Volumes, s.object(provision.KindVolume, name, own))
		}
	}
	s.Engine.Containers = append(slices.DeleteFunc(s.Engine.Containers, func(c provision.ContainerObject) bool { return c.Owner == own }),
		provision.ContainerObject{
			Object: s.object(provision.KindContainer, "odoo_"+v.Name, own), Running: running, SpecHash: todaysSpec, Network: v.Name + "_network",
			MemoryMB: v.Plan.MemoryMB, CPUMilli: v.Plan.CPUMilli, PIDs: v.Plan.PIDs, Volumes: volumesOf(v),
		})
	if !slices.ContainsFunc(s.Cluster, func(c provision.ClusterObject) bool { return c.Owner == own }) {
		s.Cluster = append(s.Cluster, provision.ClusterObject{
			Object: s.object(provision.KindDatabase, v.DBName, own), Database: true, Role: true, ConnectionLimit: v.Plan.DBConnections,
		})
	}
}

// drop removes what match says, and nothing that a live container hangs on to.
func (s *sim) drop(match func(provision.Object) bool) {
	s.Engine.Containers = slices.DeleteFunc(s.Engine.Containers, func(c provision.ContainerObject) bool { return match(c.Object) })
	s.Engine.Networks = slices.DeleteFunc(s.Engine.Networks, func(n provision.NetworkObject) bool { return match(n.Object) })
	s.Engine.Volumes = slices.DeleteFunc(s.Engine.Volumes, match)
	s.Cluster = slices.DeleteFunc(s.Cluster, func(c provision.ClusterObject) bool { return match(c.Object) })
}

func (s *sim) container(id tenants.ID) *provision.ContainerObject {
	for i := range s.Engine.Containers {
		if s.Engine.Containers[i].Owner == id.Subject() {
			return &s.Engine.Containers[i]
		}
	}
	return nil
}

func (s *sim) hasData(v provision.TenantView) bool {
	return slices.ContainsFunc(s.Cluster, func(c provision.ClusterObject) bool { return c.Owner == v.ID.Subject() && c.Database }) &&
		slices.ContainsFunc(s.Engine.Volumes, func(o provision.Object) bool { return o.Owner == v.ID.Subject() && o.Name == volumesOf(v)[0] })
}

// do is what the workflow of a mending does, with what must never happen.
func (s *sim) do(m provision.Mending) {
	i := slices.IndexFunc(s.Tenants, func(v provision.TenantView) bool { return v.ID == m.Tenant.ID })
	require.GreaterOrEqual(s, i, 0, "an operation on a tenant that isn't there")
	v := &s.Tenants[i]
	require.False(s, v.Busy, "an operation on a tenant that has one")
	switch m.Kind {
	case tenants.ResumeKind:
		require.Equal(s, tenants.WantsActive, v.Desired, "a %s tenant is started: %s", v.State, m.Finding)
		if !s.hasData(*v) {
			v.Held = m.Kind // by its first step, before anything is made
			return
		}
		s.make(*v, true)
		v.State, v.Misses = tenants.Active, 0
	case tenants.SuspendKind:
		require.Equal(s, tenants.WantsSuspended, v.Desired)
		v.State = tenants.Suspended
		s.stop(v.ID)
	case tenants.StopKind:
		require.NotEqual(s, tenants.WantsActive, v.Desired)
		s.stop(v.ID)
	case tenants.ProvisionKind:
		require.Equal(s, tenants.Provisioning, v.State)
		s.make(*v, true)
		v.State, v.WasLive = tenants.Active, true
	case tenants.DeleteKind:
		require.Equal(s, tenants.Deleting, v.State)
		s.drop(func(o provision.Object) bool { return o.Owner == m.Tenant.ID.Subject() })
		s.Tenants = slices.Delete(s.Tenants, i, i+1)
	case tenants.ResizeKind:
		c := s.container(v.ID)
		c.MemoryMB, c.CPUMilli, c.PIDs = v.Plan.MemoryMB, v.Plan.CPUMilli, v.Plan.PIDs
		for j := range s.Cluster {
			if s.Cluster[j].Owner == v.ID.Subject() {
				s.Cluster[j].ConnectionLimit = v.Plan.DBConnections
			}
		}
	default:
		require.Fail(s, "nobody does "+m.Kind)
	}
}

func (s *sim) stop(id tenants.ID) {
	if c := s.container(id); c != nil {
		c.Running = false
	}
}

func (s *sim) belongsToNobody(o provision.Orphan) {
	for _, v := range s.Tenants {
		require.NotEqual(s, v.ID.Subject(), o.Owner, "%s of a live tenant is an orphan: %s", o.Name, o.Reason)
	}
}

// remove is what happens to an orphan at the end of its grace.
func (s *sim) remove(o provision.Orphan) {
	for _, v := range s.Tenants {
		if c := s.container(v.ID); c != nil {
			require.False(s, o.Kind == provision.KindVolume && slices.Contains(c.Volumes, o.Name), "%s is used by %s", o.Name, c.Name)
			require.False(s, o.Kind == provision.KindNetwork && c.Network == o.Name, "%s is used by %s", o.Name, c.Name)
		}
		if v.WasLive {
			require.NotContains(s, append(volumesOf(v), v.DBName), o.Name, "it has the name of %s's data", v.Name)
		}
	}
	if o.Kind == provision.KindTemplate {
		i := slices.IndexFunc(s.Templates, func(t provision.TemplateView) bool { return t.Name == o.Name })
		require.False(s, s.Templates[i].Needed || s.Templates[i].Busy || !s.Templates[i].Ready)
		s.Templates = slices.Delete(s.Templates, i, i+1)
		return
	}
	s.drop(func(object provision.Object) bool { return object == o.Object })
}

// randomSim makes tenants in all states, each as it should be but for some damage, and leftovers.
func randomSim(t *testing.T, r *rand.Rand) *sim {
	t.Helper()
	s := &sim{T: t, Worlds: provision.Worlds{Shared: []string{"odootmpl_test_network"}}}
	for i := range r.IntN(12) {
		s.randomTenant(r, tenants.ID(i+1))
	}
	for i := range r.IntN(4) {
		s.leftover(r, tenants.ID(1000+i))
	}
	for i := range r.IntN(4) {
		ready := r.IntN(3) > 0
		view := provision.TemplateView{Name: fmt.Sprintf("odootmpl_test_%d", i), Ready: ready, Busy: !ready, Needed: r.IntN(2) == 0}
		s.Templates = append(s.Templates, view)
		s.template(view.Name)
		if r.IntN(3) == 0 {
			s.Engine.Containers = append(s.Engine.Containers, provision.ContainerObject{Object: s.object(provision.KindContainer, view.Name+"_build", "")})
		}
	}
	if r.IntN(3) == 0 {
		s.template("odootmpl_test_forgotten")
	}
	s.Engine.Networks = append(s.Engine.Networks, provision.NetworkObject{Object: s.object(provision.KindNetwork, "odootmpl_test_network", "")})
	s.Cluster = append(s.Cluster, provision.ClusterObject{Object: s.object(provision.KindRole, "odootmpl_test_owner", "templates"), Role: true})
	return s
}

func (s *sim) template(name string) {
	s.Engine.Containers = append(s.Engine.Containers, provision.ContainerObject{Object: s.object(provision.KindContainer, name, ""), Volumes: []string{name + "_data"}})
	s.Engine.Volumes = append(s.Engine.Volumes, s.object(provision.KindVolume, name+"_data", ""), s.object(provision.KindVolume, name+"_addons", ""))
	s.Cluster = append(s.Cluster,
		provision.ClusterObject{Object: s.object(provision.KindDatabase, name, "template/"+name), Database: true},
		provision.ClusterObject{Object: s.object(provision.KindDatabase, "odoospare_"+name, "spare/"+name), Database: true, Role: true})
}

func (s *sim) randomTenant(r *rand.Rand, id tenants.ID) {
	states := []tenants.State{
		tenants.Pending, tenants.Provisioning, tenants.Active, tenants.Active, tenants.Active, tenants.Suspended, tenants.Scheduled,
		tenants.Deleting, tenants.Failed, tenants.Maintenance, tenants.Sleeping,
	}
	v := provision.TenantView{
		ID: id, Name: fmt.Sprintf("t%d", id), DBName: fmt.Sprintf("odoo_t%d", id), State: states[r.IntN(len(states))], Desired: tenants.WantsActive,
		Subnet: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(id), 0}), 28), Spec: todaysSpec, //nolint:gosec // few
		Plan: tenants.Plan{MemoryMB: 2048, CPUMilli: 1000, PIDs: 200, DBConnections: 20}, Busy: r.IntN(6) == 0,
	}
	running := false
	switch v.State {
	case tenants.Pending:
		s.Tenants = append(s.Tenants, v)
		return
	case tenants.Provisioning, tenants.Failed:
		if r.IntN(2) == 0 {
			s.make(v, r.IntN(2) == 0)
			s.damage(r, &v)
		}
		v.Misses = 0
		s.Tenants = append(s.Tenants, v)
		return
	case tenants.Active:
		running = true
		if r.IntN(4) == 0 {
			v.Desired = tenants.WantsSuspended
		}
	case tenants.Suspended:
		v.Desired = []tenants.Desired{tenants.WantsSuspended, tenants.WantsActive}[r.IntN(2)]
	case tenants.Scheduled:
		v.Desired = []tenants.Desired{tenants.WantsDeleted, tenants.WantsActive}[r.IntN(2)]
	case tenants.Deleting:
		v.Desired = tenants.WantsDeleted
	case tenants.Sleeping, tenants.Maintenance, tenants.Deleted:
	}
	v.WasLive = true
	s.make(v, running)
	s.damage(r, &v)
	s.Tenants = append(s.Tenants, v)
}

func (s *sim) damage(r *rand.Rand, v *provision.TenantView) {
	own := v.ID.Subject()
	lose := func(name string) { s.drop(func(o provision.Object) bool { return o.Owner == own && o.Name == name }) }
	c := s.container(v.ID)
	switch r.IntN(14) {
	case 0:
		lose("odoo_" + v.Name)
	case 1:
		c.Running = !c.Running
	case 2:
		lose(v.Name + "_network")
	case 3:
		for i := range s.Engine.Networks {
			if s.Engine.Networks[i].Owner == own {
				s.Engine.Networks[i].Subnet = netip.MustParsePrefix("10.99.0.0/28")
			}
		}
	case 4:
		lose(volumesOf(*v)[1+r.IntN(2)])
	case 5:
		c.SpecHash = "spec-1"
	case 6:
		c.MemoryMB = 1
	case 7:
		v.Misses = 3
	case 8:
		lose(v.DBName)
	case 9:
		lose("odoo_" + v.Name)
		lose(volumesOf(*v)[0])
	case 10:
		s.Cluster[len(s.Cluster)-1].ConnectionLimit--
	case 11: // what a deleted tenant left was taken over by hand
		volume := s.object(provision.KindVolume, "taken_over_by_"+v.Name, "tenant/2000")
		s.Engine.Volumes = append(s.Engine.Volumes, volume)
		c.Volumes = append(c.Volumes, volume.Name)
	}
}

// leftover is what a deleted tenant left, whose name may be used again.
func (s *sim) leftover(r *rand.Rand, id tenants.ID) {
	name := fmt.Sprintf("gone%d", id)
	if len(s.Tenants) > 0 && r.IntN(2) == 0 {
		name = s.Tenants[r.IntN(len(s.Tenants))].Name
	}
	volume := s.object(provision.KindVolume, "odoo_"+name+"_data", id.Subject())
	switch r.IntN(4) {
	case 0:
		s.Engine.Containers = append(s.Engine.Containers, provision.ContainerObject{
			Object: s.object(provision.KindContainer, "odoo_"+name, id.Subject()), Running: true, Volumes: []string{volume.Name},
		})
	case 1:
		s.Engine.Volumes = append(s.Engine.Volumes, volume)
	case 2:
		s.Engine.Networks = append(s.Engine.Networks, provision.NetworkObject{Object: s.object(provision.KindNetwork, name+"_network", id.Subject())})
	case 3:
		s.Cluster = append(s.Cluster, provision.ClusterObject{Object: s.object(provision.KindRole, "odoo_"+name, id.Subject()), Role: true})
	}
}

// endOperations lets what was busy be so no more, and reports whether anything was.
func (s *sim) endOperations() bool {
	was := false
	for i := range s.Tenants {
		was = was || s.Tenants[i].Busy
		s.Tenants[i].Busy = false
	}
	for i := range s.Templates {
		was = was || s.Templates[i].Busy
		s.Templates[i].Busy = false
	}
	return was
}

// settled wants each tenant where it should be.
func (s *sim) settled(seed uint64) {
	missing := provision.MakePlan(s.Worlds).Missing
	for _, v := range s.Tenants {
		c := s.container(v.ID)
		_, gone := missing[v.ID]
		switch {
		case v.State == tenants.Pending || v.State == tenants.Failed || v.State == tenants.Maintenance || v.State == tenants.Sleeping:
		case gone:
			require.False(s, s.hasData(v), "seed %d", seed)
			require.Equal(s, v.Desired == tenants.WantsActive, v.Held == tenants.ResumeKind, "seed %d: %s is %s", seed, v.Name, v.State)
		case v.Desired == tenants.WantsActive:
			require.Equal(s, tenants.Active, v.State, "seed %d: %s", seed, v.Name)
			require.True(s, c != nil && c.Running && c.SpecHash == todaysSpec && c.MemoryMB == v.Plan.MemoryMB, "seed %d: %s", seed, v.Name)
			require.Zero(s, v.Misses)
			s.attached(v)
		default:
			require.True(s, c == nil || !c.Running, "seed %d: %s is %s and runs", seed, v.Name, v.State)
			require.Contains(s, []tenants.State{tenants.Suspended, tenants.Scheduled}, v.State)
		}
	}
}

// attached wants what the container of a tenant that runs hangs on to.
func (s *sim) attached(v provision.TenantView) {
	require.True(s, slices.ContainsFunc(s.Engine.Networks, func(n provision.NetworkObject) bool {
		return n.Owner == v.ID.Subject() && n.Subnet == v.Subnet
	}), v.Name)
	for _, name := range volumesOf(v) {
		require.True(s, slices.ContainsFunc(s.Engine.Volumes, func(o provision.Object) bool { return o.Owner == v.ID.Subject() && o.Name == name }), name)
	}
}
