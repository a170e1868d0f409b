package provision_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// The rows of a copy that nobody has decided about yet, and of one that was.
const (
	asCopy = `, quarantined_at = now(), quarantined_by = 'ada', quarantine_cause = 'A copy of shop',
		neutralised_at = NULL`
	inQuarantine = isActive + asCopy
	released     = `quarantined_at = NULL, quarantined_by = NULL, quarantine_cause = NULL`
)

// requireQuarantined wants a container that runs no jobs, and on the address that the firewall lets reach the database alone.
func (s *scene) requireQuarantined(t *testing.T) {
	t.Helper()
	s.refresh(t)
	require.NotNil(t, s.tenant.QuarantinedAt)
	require.Equal(t, tenants.Active, s.tenant.State)
	require.Equal(t, []any{"10.99.0.78", "10.99.0.78"}, []any{s.container().Address.String(), s.tenant.Address})
	require.Equal(t, "127.0.0.1", s.container().DNS[0].String())
	require.Contains(t, s.conf(), "max_cron_threads = 0\n")
	require.True(t, s.container().running)
}

func (s *scene) requireFree(t *testing.T) {
	t.Helper()
	s.refresh(t)
	require.Nil(t, s.tenant.QuarantinedAt)
	require.Equal(t, tenants.Active, s.tenant.State)
	require.Equal(t, []any{"10.99.0.66", "10.99.0.66"}, []any{s.container().Address.String(), s.tenant.Address})
	require.Equal(t, "9.9.9.9", s.container().DNS[0].String())
	require.Contains(t, s.conf(), "max_cron_threads = 1\n")
	require.True(t, s.container().running)
}

func (s *scene) conf() string { return s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"] }

// Whoever starts it finds what the row says: reconciling, resuming, resizing; and what the row says is what a release changes.
func TestQuarantine_IsTheRows(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, inQuarantine, true)
	s.do(t, tenants.ResumeKind, ops.Done)
	s.requireQuarantined(t)
	s.do(t, tenants.ResizeKind, ops.Done)
	s.requireQuarantined(t)
	s.container().running = false
	s.do(t, tenants.ResumeKind, ops.Done)
	s.requireQuarantined(t)
	s.exec(t, "UPDATE tenants SET "+released)
	s.do(t, tenants.ResumeKind, ops.Done)
	s.requireFree(t)
}

func TestReconcile_NoticesWhatIsInTheWrongPlace(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, inQuarantine, true)
	report, err := s.Reconcile(t.Context())
	require.NoError(t, err)
	require.Equal(t, tenants.ResumeKind, report.Enqueued[s.tenant.ID.Subject()])
}

// Of one that is suspended, so that nothing follows it.
func TestNeutralise_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	proves(t, func(s *scene) ops.Workflow { return s.NeutraliseWorkflow() }, isSuspended+asCopy, false, func(t *testing.T, s *scene) {
		t.Helper()
		s.refresh(t)
		require.Nil(t, s.tenant.QuarantinedAt)
		require.NotNil(t, s.tenant.NeutralisedAt)
		require.Equal(t, tenants.Suspended, s.tenant.State)
		require.False(t, s.container().running)
		require.True(t, s.world.databases["odoo_acme"].neutralised)
		require.NotContains(t, s.world.containers, "odoo_acme_neutralise")
	})
}

func TestNeutralise(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, inQuarantine, true)
	s.do(t, tenants.NeutraliseKind, ops.Done)
	require.NotNil(t, s.tenant.NeutralisedAt)
	s.requireFree(t)
	s.do(t, tenants.NeutraliseKind, ops.Done) // nothing is left to do
	s.requireFree(t)
}

// An Odoo whose own mark is missing isn't let out, whatever its command said.
func TestNeutralise_BelievesTheDatabaseOnly(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, inQuarantine, true)
	s.do(t, tenants.ResumeKind, ops.Done)
	s.world.deaf = true
	s.do(t, tenants.NeutraliseKind, ops.Abandoned)
	require.Nil(t, s.tenant.NeutralisedAt)
	s.requireQuarantined(t)
}
