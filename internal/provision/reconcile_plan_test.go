package provision_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

func TestPlan_ConvergesOnRandomWorlds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		s := randomSim(t, rand.New(rand.NewPCG(seed, 1))) //nolint:gosec // a seed to repeat
		rounds := 0
		for ; ; rounds++ {
			require.Less(t, rounds, 12, "seed %d doesn't converge", seed)
			plan := provision.MakePlan(s.Worlds)
			for id, what := range plan.Missing {
				require.NotEmpty(t, what, "%s", id)
			}
			removed := 0
			for _, o := range plan.Orphans {
				s.belongsToNobody(o)
				if !o.Keep {
					s.remove(o)
					removed++
				}
			}
			for _, m := range plan.Mend {
				s.do(m)
			}
			if len(plan.Mend) == 0 && removed == 0 && plan.Later == 0 && !s.endOperations() {
				break
			}
		}
		s.settled(seed)
	}
}

func TestPlan_InterruptsFewAtOnce(t *testing.T) {
	t.Parallel()
	s := &sim{T: t}
	for id := range tenants.ID(10) {
		v := provision.TenantView{ID: id + 1, Name: fmt.Sprintf("t%d", id), DBName: fmt.Sprintf("odoo_t%d", id), State: tenants.Active, Desired: tenants.WantsActive, Spec: todaysSpec}
		s.make(v, true)
		s.container(v.ID).SpecHash = "spec-1"
		s.Tenants = append(s.Tenants, v)
	}
	plan := provision.MakePlan(s.Worlds)
	require.Len(t, plan.Mend, 2)
	require.Equal(t, 8, plan.Later)

	for i := range s.Engine.Containers {
		s.Engine.Containers[i].Running = false
	}
	require.Len(t, provision.MakePlan(s.Worlds).Mend, 10, "after a reboot all come back at once")
}

func TestPlan_HeldOperations(t *testing.T) {
	t.Parallel()
	s := &sim{T: t}
	v := provision.TenantView{ID: 1, Name: "acme", DBName: "odoo_acme", State: tenants.Active, Desired: tenants.WantsActive, Spec: todaysSpec}
	s.make(v, false)
	for kind, want := range map[string]int{tenants.ResumeKind: 0, tenants.ProvisionKind: 0, tenants.ResizeKind: 1} {
		v.Held = kind
		s.Tenants = []provision.TenantView{v}
		plan := provision.MakePlan(s.Worlds)
		require.Len(t, plan.Mend, want, kind)
		require.True(t, want == 0 || plan.Mend[0].Instead, kind)
	}
}

func TestPlan_AServerThatCannotBeAskedMeansNothingIsMissing(t *testing.T) {
	t.Parallel()
	s := &sim{T: t}
	v := provision.TenantView{ID: 1, Name: "acme", DBName: "odoo_acme", State: tenants.Active, Desired: tenants.WantsActive, Spec: todaysSpec}
	s.make(v, true)
	s.Tenants, s.Cluster = []provision.TenantView{v}, nil
	require.Len(t, provision.MakePlan(s.Worlds).Missing, 1)
	s.NoCluster = true
	plan := provision.MakePlan(s.Worlds)
	require.Empty(t, plan.Missing)
	require.Empty(t, plan.Mend)
}

// A plan with more cores than the host has isn't mended for ever.
func TestPlan_KnowsSmallHosts(t *testing.T) {
	t.Parallel()
	s := &sim{T: t}
	v := provision.TenantView{
		ID: 1, Name: "acme", DBName: "odoo_acme", State: tenants.Active, Desired: tenants.WantsActive, Spec: todaysSpec,
		Plan: tenants.Plan{MemoryMB: 8192, CPUMilli: 4000, PIDs: 500},
	}
	s.make(v, true)
	s.Tenants = append(s.Tenants, v)
	s.container(v.ID).CPUMilli = 2000
	require.Len(t, provision.MakePlan(s.Worlds).Mend, 1)
	s.Engine.Cores = 2
	require.Empty(t, provision.MakePlan(s.Worlds).Mend)
	s.Engine.Cores = 3
	require.Len(t, provision.MakePlan(s.Worlds).Mend, 1, "the host has grown")
}
