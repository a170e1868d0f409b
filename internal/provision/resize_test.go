package provision_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

func TestResize_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	proves(t, func(s *scene) ops.Workflow {
		s.exec(t, "UPDATE tenants SET plan_id = 'enterprise'")
		return s.ResizeWorkflow()
	}, isActive, true, func(t *testing.T, s *scene) {
		t.Helper()
		s.refresh(t)
		c := s.container()
		require.True(t, c.running)
		require.Equal(t, []int{8192, 4000, 500}, []int{c.MemoryMB, c.CPUMilli, c.PIDs})
		require.Equal(t, 60, s.world.limits["odoo_acme"])
		require.Zero(t, s.world.called("StopContainer"))
		require.NotContains(t, s.world.volumes["odoo_acme_config"], "/etc/odoo/odoo.conf", "workers follow at the next start")
		require.Equal(t, 8072, s.tenant.EventPort)
	})
}

func TestResize_ToASmallerPlan(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		row          string
		running      bool
		usedMB       int
		stops, limit int
		port         int
	}{
		"goes on with its connections": {isActive, true, 1000, 0, 40, 8072},
		"uses too much memory":         {isActive, true, 3000, 1, 20, 8069},
		"is suspended":                 {isSuspended, false, 0, 0, 20, 8072},
		"should run but doesn't":       {isActive, false, 0, 0, 20, 8069},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, tc.row, tc.running)
			s.container().usedMB = tc.usedMB
			s.exec(t, "UPDATE tenants SET plan_id = 'basic'")
			before := s.tenant.State
			s.do(t, tenants.ResizeKind, ops.Done)
			require.Equal(t, before, s.tenant.State)
			require.Equal(t, before == tenants.Active, s.container().running)
			require.Equal(t, 2048, s.container().MemoryMB)
			require.Equal(t, tc.stops, s.world.called("StopContainer"))
			require.Equal(t, tc.limit, s.world.limits["odoo_acme"])
			require.Equal(t, tc.port, s.tenant.EventPort)
		})
	}
}

func TestResize_WithoutAContainerMakesNone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isSuspended, false)
	maps.DeleteFunc(s.world.containers, func(name string, _ *containerState) bool { return strings.HasPrefix(name, "odoo_") })
	s.exec(t, "UPDATE tenants SET plan_id = 'enterprise'")
	s.do(t, tenants.ResizeKind, ops.Done)
	require.Empty(t, s.world.containers)
	require.Equal(t, 60, s.world.limits["odoo_acme"])
}
