package provision_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
)

// leave puts a container of a tenant that never was into the world.
func (s *scene) leave(name string) {
	s.world.containers[name] = &containerState{
		Container: provision.Container{Name: name, Labels: map[string]string{"com.odoo-cloud.client": "999"}}, running: true,
	}
}

func (s *scene) age(t *testing.T, by string) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), "UPDATE orphans SET first_seen = first_seen - $1::interval", by)
	require.NoError(t, err)
}

func TestOrphans_GoAfterTheirGrace(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.leave("odoo_gone")
	s.world.roles["odoo_gone"], s.world.databases["odoo_gone"] = "tenant/999", &databaseState{owner: "odoo_gone"}

	before, err := s.Orphans(t.Context())
	require.NoError(t, err)
	require.Len(t, before, 2)
	require.Zero(t, before[0].FirstSeen, "looking records nothing")
	for range 2 {
		report := s.reconcile(t)
		require.Equal(t, 2, report.Orphans)
		require.Zero(t, report.Removed)
	}
	require.Contains(t, s.alerts(t), "orphans.found installation")
	found, err := s.Orphans(t.Context())
	require.NoError(t, err)
	require.Equal(t, "odoo_gone", found[0].Name)
	require.Equal(t, "tenant/999", found[0].Owner)
	require.WithinDuration(t, time.Now(), found[0].FirstSeen, time.Minute)

	s.age(t, "23 hours")
	require.Zero(t, s.reconcile(t).Removed)
	s.age(t, "2 hours")
	require.Equal(t, 2, s.reconcile(t).Removed)
	require.NotContains(t, s.world.containers, "odoo_gone")
	require.NotContains(t, s.world.databases, "odoo_gone")
	require.Contains(t, s.world.containers, "odoo_acme")
	require.Contains(t, s.world.databases, "odoo_acme")
	require.Empty(t, s.alerts(t))
	found, err = s.Orphans(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestOrphans_OneThatCannotBeRemovedStaysAndIsToldOf(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.leave("odoo_gone")
	s.leave("odoo_other")
	s.reconcile(t)
	s.age(t, "25 hours")
	s.world.fail("RemoveObject", errors.New("device is busy"))
	report, err := s.Reconcile(t.Context())
	require.ErrorContains(t, err, "device is busy")
	require.Equal(t, 2, report.Orphans)
	require.Contains(t, s.alerts(t), "orphans.found installation")
	s.world.fail("RemoveObject", nil)
	require.Equal(t, 2, s.reconcile(t).Removed)
}

func TestOrphans_WhatIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	s := live(t)
	s.leave("odoo_gone")
	s.reconcile(t)
	delete(s.world.containers, "odoo_gone")
	s.reconcile(t)
	s.leave("odoo_gone")
	require.Zero(t, s.reconcile(t).Removed)
	found, err := s.Orphans(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), found[0].FirstSeen, time.Minute)
}

func TestOrphans_WhatIsJustBeingRemovedIsNone(t *testing.T) {
	t.Parallel()
	s := live(t)
	h := &hooked{world: s.world, onList: func(int) { delete(s.world.containers, "odoo_gone") }}
	s.Service = s.service(t, s.ops, h, h)
	s.ProbeThrough(s.world, time.Second)
	s.leave("odoo_gone")
	found, err := s.Orphans(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
	s.leave("odoo_gone")
	require.Zero(t, s.reconcile(t).Orphans)
	require.Empty(t, s.alerts(t))
}

func TestOrphans_ATemplateThatNoPlanNeedsGoes(t *testing.T) {
	t.Parallel()
	s := live(t)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO templates (image_id, apps_key, apps, database_name, volume_name, state, ready_at)
		SELECT 'sha256:before', apps_key, apps, 'odootmpl_before', 'odootmpl_before_data', 'ready', now() FROM templates`)
	require.NoError(t, err)
	s.world.databases["odootmpl_before"] = &databaseState{owner: "control", sealed: true}
	s.world.volumes["odootmpl_before_data"] = map[string]string{}
	require.Equal(t, 1, s.reconcile(t).Orphans)
	_, err = s.pool.Exec(t.Context(), "UPDATE templates SET state = 'building', ready_at = NULL WHERE database_name = 'odootmpl_test'")
	require.NoError(t, err)
	require.Zero(t, s.reconcile(t).Orphans, "until the one that takes its place is built it is used")
	_, err = s.pool.Exec(t.Context(), "UPDATE templates SET state = 'ready' WHERE database_name = 'odootmpl_test'")
	require.NoError(t, err)

	s.reconcile(t)
	s.age(t, "25 hours")
	require.Equal(t, 1, s.reconcile(t).Removed)
	require.NotContains(t, s.world.databases, "odootmpl_before")
	require.NotContains(t, s.world.volumes, "odootmpl_before_data")
	require.Contains(t, s.world.databases, "odootmpl_test")
	require.Zero(t, s.reconcile(t).Orphans)
	list, err := provision.Templates(t.Context(), s.pool)
	require.NoError(t, err)
	require.Equal(t, provision.TemplateRemoved, list[1].State, "the row tells the image of those who were cloned from it")
}

// A sandbox is its own sweep's: neither its database nor its network is an orphan, and its container is its client's.
func TestOrphans_SandboxesAreNone(t *testing.T) {
	t.Parallel()
	s := live(t)
	tenant, err := s.tenants.ByID(t.Context(), s.tenant.ID)
	require.NoError(t, err)
	_, err = s.OpenSandbox(t.Context(), tenant, "backup/17", 0)
	require.NoError(t, err)
	found, err := s.Orphans(t.Context())
	require.NoError(t, err)
	for _, o := range found {
		require.Equal(t, provision.KindVolume, o.Kind, "%s: volumes bear no labels in this world, in the real one they are the client's", o.Name)
	}
}
