package provision_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// The rows of a tenant that was active, on its way.
const (
	isActive    = `state = 'active', desired = 'active', suspended_by = NULL`
	toSuspend   = `state = 'active', desired = 'suspended', suspended_by = 'owner'`
	isSuspended = `state = 'suspended', desired = 'suspended', suspended_by = 'owner'`
	toResume    = `state = 'suspended', desired = 'active', suspended_by = 'owner'`
	isScheduled = `state = 'scheduled_for_deletion', desired = 'deleted', return_state = 'active', suspended_by = NULL,
		deletion_scheduled_at = now() + interval '12 hours'`
	cancelled  = `state = 'scheduled_for_deletion', desired = 'active', return_state = 'active', suspended_by = NULL`
	isDeleting = `state = 'deleting', desired = 'deleted', suspended_by = NULL`
)

// live makes the world of a tenant that was active with the business plan and ran, or didn't, and its row.
func (s *scene) live(t *testing.T, row string, running bool) {
	t.Helper()
	s.world = newWorld()
	s.Service = s.service(t, s.ops, s.world, s.world)
	s.ProbeThrough(s.world, time.Second)
	s.exec(t, `UPDATE tenants SET failure = NULL, deleted_at = NULL, return_state = NULL, deletion_scheduled_at = NULL, final_backup_skipped = NULL,
		activated_at = now(), address = '10.99.0.66', http_port = 8069, event_port = 8072, plan_id = 'business', `+isActive)
	s.exec(t, `UPDATE tenants SET `+row)
	s.exec(t, `DELETE FROM tenant_subnets`)
	_, err := s.pool.Exec(t.Context(), `INSERT INTO tenant_subnets (subnet, tenant_id) VALUES ('10.99.0.64/28', $1)`, s.tenant.ID)
	require.NoError(t, err)
	require.NoError(t, postgres.InTx(t.Context(), s.pool, func(tx pgx.Tx) error { return s.tenants.MintSecretsTx(t.Context(), tx, s.tenant.ID) }))
	s.refresh(t)
	s.world.own(s.tenant, running)
}

func (s *scene) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := s.pool.Exec(t.Context(), sql)
	require.NoError(t, err)
}

// own gives the tenant all that provisioning makes.
func (w *world) own(t tenants.Tenant, running bool) {
	labels := map[string]string{"com.odoo-cloud.client": t.ID.String()}
	w.roles[t.DBName], w.limits[t.DBName] = t.ID.Subject(), 40
	w.databases[t.DBName] = &databaseState{owner: t.DBName}
	w.networks[t.Name+"_network"] = provision.Network{Name: t.Name + "_network", Labels: labels}
	c := provision.Container{
		Name: "odoo_" + t.Name, Image: "sha256:older", Network: t.Name + "_network", Labels: labels, MemoryMB: 4096, CPUMilli: 2000, PIDs: 300,
	}
	for path, volume := range map[string]string{"/var/lib/odoo": "_data", "/mnt/extra-addons": "_addons", "/etc/odoo": "_config"} {
		c.Mounts = append(c.Mounts, provision.Mount{Volume: c.Name + volume, Path: path})
		w.volumes[c.Name+volume] = map[string]string{"kept": "yes"}
	}
	c.Address = netip.MustParseAddr(t.Address)
	w.containers[c.Name] = &containerState{Container: c, running: running}
}

// proves runs the three proofs of a workflow, each on a scene of its own.
func proves(t *testing.T, workflow func(s *scene) ops.Workflow, row string, running bool, check func(t *testing.T, s *scene)) {
	t.Helper()
	for name, prove := range map[string]func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow){
		"each step twice": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow) {
			t.Helper()
			opstest.Repeat(t, s.pool, build, s.input, s.tenant.ID.Subject(), func(t *testing.T) { t.Helper(); check(t, s) })
		},
		"a failure at each step": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow) {
			t.Helper()
			opstest.FailEach(t, s.pool, build, s.input, s.tenant.ID.Subject(), func(t *testing.T) { t.Helper(); check(t, s) })
		},
		"a crash after each step": func(t *testing.T, s *scene, build func(*testing.T) ops.Workflow) {
			t.Helper()
			opstest.CrashEach(t, s.pool, build, s.input, s.tenant.ID.Subject(), func(t *testing.T) { t.Helper(); check(t, s) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			prove(t, s, func(t *testing.T) ops.Workflow {
				t.Helper()
				s.live(t, row, running)
				return workflow(s)
			})
		})
	}
}

// do enqueues an operation and waits for it to get into the state.
func (s *scene) do(t *testing.T, kind string, want ops.State) ops.Operation {
	t.Helper()
	return s.doWith(t, kind, s.input, want)
}

func (s *scene) doWith(t *testing.T, kind string, input map[string]any, want ops.State) ops.Operation {
	t.Helper()
	engine := s.start(t, s.SuspendWorkflow(), s.StopWorkflow(), s.ResumeWorkflow(), s.ResizeWorkflow(), s.DeleteWorkflow(), s.NeutraliseWorkflow())
	var op ops.Operation
	require.NoError(t, postgres.InTx(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
		op, err = engine.EnqueueTx(t.Context(), tx, kind, s.tenant.ID.Subject(), input)
		return err
	}))
	op = opstest.Wait(t, engine, op.ID, want)
	// What follows ends too.
	require.Eventually(t, func() bool {
		latest, err := engine.Latest(t.Context(), s.tenant.ID.Subject())
		return err == nil && (latest.State.Ended() || latest.State == ops.Held)
	}, opstest.Limit, 5*time.Millisecond)
	s.refresh(t)
	return op
}

func (s *scene) container() *containerState { return s.world.containers["odoo_acme"] }

func TestSuspend_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	proves(t, func(s *scene) ops.Workflow { return s.SuspendWorkflow() }, toSuspend, true, func(t *testing.T, s *scene) {
		t.Helper()
		s.refresh(t)
		require.Equal(t, tenants.Suspended, s.tenant.State)
		require.NotNil(t, s.tenant.SuspendedAt)
		require.False(t, s.container().running)
	})
}

func TestStop_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	proves(t, func(s *scene) ops.Workflow { return s.StopWorkflow() }, isScheduled, true, func(t *testing.T, s *scene) {
		t.Helper()
		s.refresh(t)
		require.Equal(t, tenants.Scheduled, s.tenant.State)
		require.False(t, s.container().running)
	})
}

func TestSuspend_WhatDoesNotStopIsNotSuspended(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(w *world){
		"the engine refuses": func(w *world) {
			w.fail("StopContainer", errors.New("tried to kill it, but did not receive an exit event"))
		},
		"the engine only says so": func(w *world) { w.containers["odoo_acme"].stubborn = true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, toSuspend, true)
			fail(s.world)
			s.do(t, tenants.SuspendKind, ops.Held)
			require.Equal(t, tenants.Active, s.tenant.State)
			require.Equal(t, tenants.WantsSuspended, s.tenant.Desired)
		})
	}
}

// A tenant that is wanted to run again when its stop ends is started again, by whoever stopped it.
func TestSuspend_WhatIsNotWantedAnyMoreIsUndone(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind, before, meanwhile string
		want                    tenants.State
		running                 bool
	}{
		"resumed before it was suspended": {tenants.SuspendKind, toSuspend, isActive, tenants.Active, true},
		"cancelled before it was stopped": {tenants.StopKind, isScheduled, "deletion_scheduled_at = NULL, " + cancelled, tenants.Active, true},
		"scheduled instead of suspended":  {tenants.SuspendKind, toSuspend, isScheduled, tenants.Scheduled, false},
		"deleted":                         {tenants.SuspendKind, toSuspend, isDeleting, tenants.Deleted, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, tc.before, true)
			s.world.onStop = func() { s.exec(t, "UPDATE tenants SET "+tc.meanwhile) }
			s.do(t, tc.kind, ops.Done)
			require.Eventually(t, func() bool { s.refresh(t); return s.tenant.State == tc.want }, 10*time.Second, 5*time.Millisecond)
			if tc.want != tenants.Deleted {
				require.Equal(t, tc.running, s.container().running)
			}
		})
	}
}

func TestSuspend_OfWhatIsSuspendedStopsIt(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isSuspended, true)
	s.do(t, tenants.StopKind, ops.Done)
	require.Equal(t, tenants.Suspended, s.tenant.State)
	require.False(t, s.container().running)
}

func (s *scene) requireRuns(t *testing.T) {
	t.Helper()
	s.refresh(t)
	require.Equal(t, tenants.Active, s.tenant.State)
	require.Equal(t, "10.99.0.66", s.tenant.Address)
	require.Equal(t, 8072, s.tenant.EventPort)
	require.True(t, s.container().running)
	require.Contains(t, s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"], "workers = 2\n")
	require.Equal(t, "yes", s.world.volumes["odoo_acme_data"]["kept"])
	require.Equal(t, 40, s.world.limits["odoo_acme"])
}

func TestResume_SurvivesWhatOperationsMust(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]string{"suspended": toResume, "scheduled": cancelled, "active": isActive} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proves(t, func(s *scene) ops.Workflow { return s.ResumeWorkflow() }, row, false, func(t *testing.T, s *scene) {
				t.Helper()
				s.requireRuns(t)
				require.Empty(t, s.tenant.SuspendedBy)
			})
		})
	}
}

func TestResume_FollowsThePlan(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, toResume, false)
	s.exec(t, "UPDATE tenants SET plan_id = 'basic'")
	s.do(t, tenants.ResumeKind, ops.Done)
	require.Equal(t, tenants.Active, s.tenant.State)
	require.Equal(t, 8069, s.tenant.EventPort, "the smaller plan has no workers")
	require.Contains(t, s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"], "workers = 0\n")
	require.Equal(t, 2048, s.container().MemoryMB)
	require.Equal(t, 20, s.world.limits["odoo_acme"])
	require.Equal(t, "sha256:older", s.container().Image, "a client keeps its image")
}

func TestResume_MakesContainerAndNetworkAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isActive, false)
	s.readyTemplate(t)
	s.exec(t, `INSERT INTO operations (kind, subject, state, data, finished_at)
		SELECT 'tenant.provision', 'tenant/' || t.id, 'done', jsonb_build_object('template', m.id), now() FROM tenants t, templates m`)
	maps.DeleteFunc(s.world.containers, func(string, *containerState) bool { return true })
	maps.DeleteFunc(s.world.networks, func(string, provision.Network) bool { return true })
	delete(s.world.volumes, "odoo_acme_config")
	s.do(t, tenants.ResumeKind, ops.Done)
	s.requireRuns(t)
	require.Equal(t, "sha256:0123", s.container().Image, "that of the template it was cloned from")
	require.Contains(t, s.world.networks, "acme_network")
}

func TestResume_NeverStartsWithoutTheData(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(w *world){
		"volume":                  func(w *world) { delete(w.volumes, "odoo_acme_data") },
		"database":                func(w *world) { delete(w.databases, "odoo_acme") },
		"another tenant's volume": func(w *world) { w.fail("HasVolume", provision.ErrForeign) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.live(t, toResume, false)
			lose(s.world)
			op := s.do(t, tenants.ResumeKind, ops.Held)
			require.Equal(t, 1, op.Attempt)
			require.Zero(t, s.world.called("EnsureContainer"))
			require.False(t, s.container().running)
			require.Equal(t, tenants.Suspended, s.tenant.State)
		})
	}
}

func TestResume_LeavesWhatRunsAsItIs(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isActive, true)
	s.exec(t, "UPDATE tenants SET plan_id = 'enterprise', event_port = 8069")
	s.do(t, tenants.ResumeKind, ops.Done)
	require.Zero(t, s.world.called("StopContainer"))
	require.NotContains(t, s.world.volumes["odoo_acme_config"], "/etc/odoo/odoo.conf")
	require.Equal(t, 8069, s.tenant.EventPort)
	require.Equal(t, 8192, s.container().MemoryMB)

	s.doWith(t, tenants.ResumeKind, map[string]any{"tenant_id": s.tenant.ID, "restart": true}, ops.Done)
	require.NotZero(t, s.world.called("StopContainer"))
	require.Contains(t, s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"], "workers = 4\n")
	require.Equal(t, 8072, s.tenant.EventPort)
	require.True(t, s.container().running)
}

// What was started for somebody who has thought better of it since doesn't go on running.
func TestResume_WhatIsNotWantedAnyMoreIsStopped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, toResume, false)
	workflow := s.ResumeWorkflow()
	start := workflow.Steps[1].Do
	workflow.Steps[1].Do = func(ctx context.Context, r *ops.Run) error {
		if err := start(ctx, r); err != nil {
			return err
		}
		s.exec(t, "UPDATE tenants SET "+isSuspended)
		return nil
	}
	engine := s.start(t, workflow, s.SuspendWorkflow())
	require.NoError(t, postgres.InTx(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := engine.EnqueueTx(t.Context(), tx, tenants.ResumeKind, s.tenant.ID.Subject(), s.input)
		return err
	}))
	require.Eventually(t, func() bool {
		op, err := engine.Latest(t.Context(), s.tenant.ID.Subject())
		return err == nil && op.Kind == tenants.SuspendKind && op.State == ops.Done
	}, opstest.Limit, 5*time.Millisecond)
	s.refresh(t)
	require.Equal(t, tenants.Suspended, s.tenant.State)
	require.False(t, s.container().running)
}

func TestResume_AnOdooThatHangsIsStartedAnew(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, toResume, false)
	s.ProbeThrough(roundTrip(func(req *http.Request) (*http.Response, error) {
		if s.world.called("StopContainer") == 0 {
			return nil, errors.New("i/o timeout")
		}
		return s.world.RoundTrip(req)
	}), 50*time.Millisecond)
	s.do(t, tenants.ResumeKind, ops.Done)
	require.Equal(t, tenants.Active, s.tenant.State)
}
