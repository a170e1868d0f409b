package provision_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// scene is a paid tenant and a ready template, made anew for each run of its workflow.
type scene struct {
	*bundle
	world  *world
	tenant tenants.Tenant
	input  map[string]any
	worker *ops.Engine // of start
}

func newScene(t *testing.T) *scene {
	t.Helper()
	b, w := setup(t)
	s := &scene{bundle: b, world: w, tenant: b.paid(t, "acme", "business")}
	s.input = map[string]any{"tenant_id": s.tenant.ID}
	return s
}

// build makes the world as it is before the operation.
func (s *scene) build(t *testing.T) ops.Workflow {
	t.Helper()
	s.world = newWorld()
	s.Service = s.service(t, s.ops, s.world, s.world)
	s.ProbeThrough(s.world, time.Second)
	s.Stock("stocked-password", "$pbkdf2-sha512$stocked")
	for _, sql := range []string{
		"DELETE FROM tenant_secrets", "DELETE FROM tenant_subnets", "DELETE FROM templates",
		"UPDATE tenants SET state = 'provisioning', failure = NULL, address = NULL, activated_at = NULL",
	} {
		_, err := s.pool.Exec(t.Context(), sql)
		require.NoError(t, err)
	}
	s.readyTemplate(t)
	return s.ProvisionWorkflow()
}

func (s *scene) readyTemplate(t *testing.T) {
	t.Helper()
	plan, err := s.tenants.Plan(t.Context(), "business")
	require.NoError(t, err)
	_, err = s.pool.Exec(t.Context(), `INSERT INTO templates (image_id, apps_key, apps, database_name, volume_name, state, ready_at)
		VALUES ('sha256:0123', $1, $2, 'odootmpl_test', 'odootmpl_test_data', 'ready', now())`, provision.AppsKey(plan.Apps), plan.Apps)
	require.NoError(t, err)
	s.world.databases["odootmpl_test"] = &databaseState{owner: "control", sealed: true}
	s.world.volumes["odootmpl_test_data"] = map[string]string{"/var/lib/odoo/filestore/odootmpl_test": "attachments"}
}

// check wants the one whole tenant and nothing else.
func (s *scene) check(t *testing.T) {
	t.Helper()
	tenant, err := s.tenants.ByID(t.Context(), s.tenant.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Active, tenant.State)
	require.Equal(t, "10.99.0.66", tenant.Address, "the second host of the fifth subnet")
	require.Equal(t, 8072, tenant.EventPort)
	known, err := s.tenants.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Equal(t, "stocked-password", known.AdminPassword.Reveal())

	database := s.world.databases["odoo_acme"]
	require.Equal(t, "odoo_acme", database.owner)
	require.Equal(t, 1, database.identities)
	require.Equal(t, provision.Identity{
		Login: "acme@example.test", PasswordHash: "$pbkdf2-sha512$stocked", BaseURL: "http://acme.example.test:8080", CompanyName: "acme",
	}, database.identity)
	container := s.world.containers["odoo_acme"]
	require.True(t, container.running)
	require.Equal(t, []string{"env", "odoo"}, container.Command)
	require.Empty(t, container.Environment)
	require.True(t, container.Restart)
	require.Equal(t, tenant.ID.String(), container.Labels["com.odoo-cloud.client"])
	require.Contains(t, s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"], "db_password = "+known.DBPassword.Reveal()+"\n")
	require.Contains(t, s.world.volumes["odoo_acme_config"]["/etc/odoo/odoo.conf"], "db_host = 10.99.0.65\n", "loopback is the gateway's address for a tenant")
	require.Equal(t, "attachments", s.world.volumes["odoo_acme_data"]["/var/lib/odoo/filestore/odoo_acme"])
	require.Len(t, s.world.networks, 1)
	require.Len(t, s.world.containers, 2, "the tenant's and the template's")
	require.NotZero(t, s.world.calls["EnsureFirewall"])
}

func TestProvisioning_EachStepTwice(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	opstest.Repeat(t, s.pool, s.build, s.input, s.tenant.ID.Subject(), s.check)
}

func TestProvisioning_AFailureAtEachStep(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	opstest.FailEach(t, s.pool, s.build, s.input, s.tenant.ID.Subject(), s.check)
}

func TestProvisioning_ACrashAfterEachStep(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	opstest.CrashEach(t, s.pool, s.build, s.input, s.tenant.ID.Subject(), s.check)
}

// run lets the operation end in some way, with the given methods of the world failing.
func (s *scene) run(t *testing.T, failing map[string]error) ops.Operation {
	t.Helper()
	return s.finish(t, s.build(t), failing)
}

// start puts an engine to work on these workflows, in place of the one before: engines that know different ones take each other's jobs.
func (s *scene) start(t *testing.T, workflows ...ops.Workflow) *ops.Engine {
	t.Helper()
	if s.worker != nil {
		opstest.Stop(t, s.worker)
	}
	s.worker = opstest.Start(t, s.pool, workflows...)
	return s.worker
}

// finish is run on a world that was built already.
func (s *scene) finish(t *testing.T, workflow ops.Workflow, failing map[string]error) ops.Operation {
	t.Helper()
	for method, err := range failing {
		s.world.fail(method, err)
	}
	engine := s.start(t, workflow)
	var op ops.Operation
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
		op, err = engine.EnqueueTx(t.Context(), tx, provision.ProvisionKind, s.tenant.ID.Subject(), s.input)
		return err
	}))
	want := ops.Done
	if len(failing) > 0 {
		want = ops.Held
	}
	return opstest.Wait(t, engine, op.ID, want)
}

func TestProvisioning_GivingUpHoldsAndFailsTheTenant(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	op := s.run(t, map[string]error{"StartContainer": errors.New("no space left on device")})
	require.Equal(t, "start", op.Step)
	require.Equal(t, ops.DefaultMaxAttempts, op.Attempt)
	require.Contains(t, op.ErrorDetail, "no space left on device")
	tenant, err := s.tenants.ByID(t.Context(), s.tenant.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Failed, tenant.State)
	require.NotContains(t, tenant.Failure, "no space left on device", "details are for admins")
	require.NotEmpty(t, tenant.Failure)
	require.Contains(t, s.world.databases, "odoo_acme", "nothing that was paid for is unwound")
}

func TestProvisioning_AForeignObjectHoldsAtOnce(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	op := s.run(t, map[string]error{"EnsureTenant": provision.ErrForeign.WithCause(errors.New("role odoo_acme is not ours"))})
	require.Equal(t, 1, op.Attempt)
	require.Equal(t, provision.ErrForeign.Message, op.Error)
	require.NotContains(t, s.world.databases, "odoo_acme")
}

func TestProvisioning_AnOdooThatNeverAnswersIsHeld(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	workflow := s.build(t)
	workflow.MaxAttempts = 3 // a worker that is slow to begin may cost one
	s.ProbeThrough(roundTrip(func(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }), 50*time.Millisecond)
	engine := s.start(t, workflow)
	var op ops.Operation
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
		op, err = engine.EnqueueTx(t.Context(), tx, provision.ProvisionKind, s.tenant.ID.Subject(), s.input)
		return err
	}))
	op = opstest.Wait(t, engine, op.ID, ops.Held)
	require.Equal(t, provision.ErrNotReady.Message, op.Error, op.ErrorDetail)
	require.Contains(t, op.ErrorDetail, "connection refused")
}

func TestProvisioning_ADeletedTenantIsNotMade(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	workflow := s.build(t)
	_, err := s.pool.Exec(t.Context(), `UPDATE tenants SET state = 'scheduled_for_deletion', desired = 'deleted',
		return_state = 'active', deletion_scheduled_at = now()`)
	require.NoError(t, err)
	engine := s.start(t, workflow)
	var op ops.Operation
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
		op, err = engine.EnqueueTx(t.Context(), tx, provision.ProvisionKind, s.tenant.ID.Subject(), s.input)
		return err
	}))
	op = opstest.Wait(t, engine, op.ID, ops.Held)
	require.Equal(t, 1, op.Attempt)
	require.Empty(t, s.world.containers)
}

// RoundTrip answers a probe as the tenants' Odoos would: when one's container is running and its database is its own.
func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.containers {
		if c.Address.String() == req.URL.Hostname() && c.running {
			recorder := httptest.NewRecorder()
			recorder.WriteHeader(http.StatusOK)
			return recorder.Result(), nil
		}
	}
	return nil, errors.New("connection refused")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
