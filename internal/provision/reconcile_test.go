package provision_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// live is a scene whose tenant is active and as it should be.
func live(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.run(t, nil)
	return s
}

func (s *scene) reconcile(t *testing.T) provision.ReconcileReport {
	t.Helper()
	report, err := s.Reconcile(t.Context())
	require.NoError(t, err)
	return report
}

// begins wants one reconciliation to enqueue this kind for the tenant, and the next to leave it to that.
func (s *scene) begins(t *testing.T, kind string) ops.Operation {
	t.Helper()
	require.Equal(t, map[string]string{s.tenant.ID.Subject(): kind}, s.reconcile(t).Enqueued)
	require.Empty(t, s.reconcile(t).Enqueued)
	op, err := s.ops.Latest(t.Context(), s.tenant.ID.Subject())
	require.NoError(t, err)
	require.Equal(t, kind, op.Kind)
	return op
}

// change sets columns of the tenant.
func (s *scene) change(t *testing.T, set string) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), "UPDATE tenants SET "+set+" WHERE id = $1", s.tenant.ID)
	require.NoError(t, err)
}

func (s *scene) alerts(t *testing.T) []string {
	t.Helper()
	open, err := alerts.New(s.pool).List(t.Context(), alerts.Filter{Limit: 100})
	require.NoError(t, err)
	kinds := []string{}
	for _, a := range open {
		kinds = append(kinds, a.Kind+" "+a.Subject)
	}
	return kinds
}

func TestReconcile_NothingToDo(t *testing.T) {
	t.Parallel()
	s := live(t)
	report := s.reconcile(t)
	require.Equal(t, provision.ReconcileReport{Tenants: 1, Enqueued: map[string]string{}}, report)
	orphans, err := s.Orphans(t.Context())
	require.NoError(t, err)
	require.Empty(t, orphans)
	require.Empty(t, s.alerts(t))
}

func TestReconcile_BringsBackWhatShouldRun(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(w *world){
		"stopped":         func(w *world) { w.containers["odoo_acme"].running = false },
		"gone":            func(w *world) { delete(w.containers, "odoo_acme") },
		"without network": func(w *world) { delete(w.networks, "acme_network") },
		"a volume gone":   func(w *world) { delete(w.volumes, "odoo_acme_config") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := live(t)
			damage(s.world)
			s.begins(t, tenants.ResumeKind)
		})
	}
}

func TestReconcile_MendsLimits(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.world.containers["odoo_acme"].MemoryMB++
	s.begins(t, tenants.ResizeKind)
}

func TestReconcile_BeginsWhatNobodyDoes(t *testing.T) {
	t.Parallel()
	for kind, set := range map[string]string{
		tenants.ProvisionKind: "state = 'provisioning'",
		tenants.SuspendKind:   "desired = 'suspended', suspended_by = 'billing'",
		tenants.ResumeKind:    "state = 'suspended', desired = 'active'",
		tenants.StopKind:      "state = 'suspended', desired = 'suspended', suspended_by = 'owner'",
		tenants.DeleteKind:    "state = 'deleting', desired = 'deleted'",
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := live(t)
			if kind == tenants.ResumeKind {
				s.change(t, "suspended_by = 'owner', desired = 'suspended', state = 'suspended'")
				set = "desired = 'active'"
			}
			s.change(t, set)
			s.begins(t, kind)
		})
	}
}

func TestReconcile_NeverStartsWhatIsSuspended(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.world.containers["odoo_acme"].running = false
	for _, set := range []string{
		"state = 'suspended', desired = 'suspended', suspended_by = 'owner'",
		"state = 'scheduled_for_deletion', desired = 'deleted', suspended_by = NULL, return_state = 'active', deletion_scheduled_at = now()",
		"state = 'failed', desired = 'active', return_state = NULL, deletion_scheduled_at = NULL",
		"state = 'maintenance'", "state = 'sleeping'",
	} {
		s.change(t, set)
		require.Empty(t, s.reconcile(t).Enqueued, set)
	}
}

func TestReconcile_StartsAHangingOdooAnewAfterSomeMisses(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.ProbeThrough(roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("i/o timeout") }), time.Second)
	require.Empty(t, s.reconcile(t).Enqueued)
	s.ProbeThrough(s.world, time.Second)
	require.Empty(t, s.reconcile(t).Enqueued, "it has answered, so the count begins anew")
	s.ProbeThrough(roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("i/o timeout") }), time.Second)
	for range 2 {
		require.Empty(t, s.reconcile(t).Enqueued)
	}
	op := s.begins(t, tenants.ResumeKind)
	var input json.RawMessage
	require.NoError(t, s.pool.QueryRow(t.Context(), "SELECT input FROM operations WHERE id = $1", op.ID).Scan(&input))
	require.JSONEq(t, `{"tenant_id": `+s.tenant.ID.String()+`, "restart": true}`, string(input))
}

func TestReconcile_DataThatIsGoneIsNotMadeAnew(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world){
		"database": func(w *world) { delete(w.databases, "odoo_acme") },
		"volume":   func(w *world) { delete(w.volumes, "odoo_acme_data") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := live(t)
			database, volume := s.world.databases["odoo_acme"], s.world.volumes["odoo_acme_data"]
			lose(s.world)
			s.world.containers["odoo_acme"].running = false
			require.Equal(t, 1, s.reconcile(t).Missing)
			op, err := s.ops.Latest(t.Context(), s.tenant.ID.Subject())
			require.NoError(t, err)
			engine := s.start(t, s.ResumeWorkflow())
			op = opstest.Wait(t, engine, op.ID, ops.Held)
			require.Equal(t, "prepare", op.Step)
			require.Equal(t, 1, op.Attempt)
			require.False(t, s.world.containers["odoo_acme"].running)

			report := s.reconcile(t)
			require.Empty(t, report.Enqueued, "a person looks at it")
			require.Equal(t, 1, report.Missing)
			require.Equal(t, []string{"tenant.data_missing " + s.tenant.ID.Subject()}, s.alerts(t))
			s.world.databases["odoo_acme"], s.world.volumes["odoo_acme_data"] = database, volume
			require.Zero(t, s.reconcile(t).Missing)
			require.Empty(t, s.alerts(t))
		})
	}
}

func TestReconcile_WhatDoesNotStayMendedIsAPersonsBusiness(t *testing.T) {
	t.Parallel()
	s := live(t)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO operations (kind, subject, state, finished_at, created_at)
		SELECT $1, $2, 'done', now() - interval '10 minutes', now() - interval '20 minutes' FROM generate_series(1, 5)`,
		tenants.ResumeKind, s.tenant.ID.Subject())
	require.NoError(t, err)
	s.world.containers["odoo_acme"].running = false
	require.Empty(t, s.reconcile(t).Enqueued)
	require.Equal(t, []string{"tenant.flapping " + s.tenant.ID.Subject()}, s.alerts(t))
	_, err = s.pool.Exec(t.Context(), "UPDATE operations SET created_at = created_at - interval '1 hour'")
	require.NoError(t, err)
	s.begins(t, tenants.ResumeKind)

	s.world.containers["odoo_acme"].running = true
	s.reconcile(t)
	require.NotEmpty(t, s.alerts(t), "it was mended only now")
	_, err = s.pool.Exec(t.Context(), "UPDATE operations SET state = 'done', finished_at = now() - interval '2 hours', created_at = now() - interval '2 hours'")
	require.NoError(t, err)
	s.reconcile(t)
	require.NotEmpty(t, s.alerts(t), "it was told of only now")
	_, err = s.pool.Exec(t.Context(), "UPDATE alerts SET last_at = last_at - interval '2 hours'")
	require.NoError(t, err)
	s.reconcile(t)
	require.Empty(t, s.alerts(t), "it has stayed mended")
}

func TestReconcile_WithoutTheDatabaseServer(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.world.containers["odoo_acme"].running = false
	s.world.fail("ClusterObjects", errAway)
	report, err := s.Reconcile(t.Context())
	require.ErrorIs(t, err, errAway)
	require.Equal(t, map[string]string{s.tenant.ID.Subject(): tenants.ResumeKind}, report.Enqueued)
	_, err = s.Orphans(t.Context())
	require.ErrorIs(t, err, errAway)
}

// hooked lets something happen while the engine's objects are listed.
type hooked struct {
	*world
	lists  int
	onList func(n int)
}

func (h *hooked) EngineObjects(ctx context.Context) (provision.EngineObjects, error) {
	all, err := h.world.EngineObjects(ctx)
	h.lists++
	h.onList(h.lists)
	return all, err
}

func TestReconcile_PassesOverWhatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.world.containers["odoo_acme"].running = false
	h := &hooked{world: s.world, onList: func(int) {
		_, err := s.pool.Exec(t.Context(), `INSERT INTO operations (kind, subject, state, finished_at) VALUES ($1, $2, 'done', clock_timestamp())`,
			tenants.ResumeKind, s.tenant.ID.Subject())
		require.NoError(t, err)
	}}
	s.Service = s.service(t, s.ops, h, h)
	s.ProbeThrough(s.world, time.Second)
	require.Empty(t, s.reconcile(t).Enqueued, "it may be running by now")
	h.onList = func(int) {}
	require.Len(t, s.reconcile(t).Enqueued, 1)
}
