package provision_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/provision"
)

// buildScene is a template that is to be built.
func buildScene(t *testing.T) (s *scene, template provision.Template) {
	t.Helper()
	b, w := setup(t)
	s = &scene{bundle: b, world: w}
	_, err := b.pool.Exec(t.Context(), `INSERT INTO templates (image_id, apps_key, apps, database_name, volume_name, state)
		VALUES ('sha256:0123', 'contacts,crm', '{contacts,crm}', 'odootmpl_test', 'odootmpl_test_data', 'building')`)
	require.NoError(t, err)
	list, err := provision.Templates(t.Context(), b.pool)
	require.NoError(t, err)
	s.input = map[string]any{"template_id": list[0].ID}
	return s, list[0]
}

func (s *scene) rebuild(t *testing.T) ops.Workflow {
	t.Helper()
	s.world = newWorld()
	s.Service = s.service(t, s.ops, s.world, s.world)
	_, err := s.pool.Exec(t.Context(), "UPDATE templates SET state = 'building', ready_at = NULL")
	require.NoError(t, err)
	return s.BuildWorkflow()
}

func (s *scene) checkTemplate(t *testing.T) {
	t.Helper()
	list, err := provision.Templates(t.Context(), s.pool)
	require.NoError(t, err)
	require.Equal(t, provision.TemplateReady, list[0].State)
	require.NotNil(t, list[0].ReadyAt)
	require.True(t, s.world.databases["odootmpl_test"].sealed)
	require.Contains(t, s.world.volumes["odootmpl_test_data"], "/var/lib/odoo/filestore/odootmpl_test")
	require.Contains(t, s.world.containers, "odootmpl_test", "it holds the filestore")
	require.NotContains(t, s.world.containers, "odootmpl_test_build")
	require.NotContains(t, s.world.volumes, "odootmpl_test_config", "the builder's password goes with it")
}

func TestBuilding_EachStepTwice(t *testing.T) {
	t.Parallel()
	s, template := buildScene(t)
	opstest.Repeat(t, s.pool, s.rebuild, s.input, template.ID.Subject(), s.checkTemplate)
}

func TestBuilding_AFailureAtEachStep(t *testing.T) {
	t.Parallel()
	s, template := buildScene(t)
	opstest.FailEach(t, s.pool, s.rebuild, s.input, template.ID.Subject(), s.checkTemplate)
}

func TestBuilding_ACrashAfterEachStep(t *testing.T) {
	t.Parallel()
	s, template := buildScene(t)
	opstest.CrashEach(t, s.pool, s.rebuild, s.input, template.ID.Subject(), s.checkTemplate)
}

func TestEnsureTemplate(t *testing.T) {
	t.Parallel()
	b, w := setup(t)
	b.ops = opstest.Start(t, b.pool, b.BuildWorkflow())
	b.Service = b.service(t, b.ops, w, w)
	first, err := b.EnsureTemplate(t.Context(), []string{"crm", "contacts", "crm"})
	require.NoError(t, err)
	require.Equal(t, provision.TemplateBuilding, first.State)
	require.Equal(t, []string{"contacts", "crm"}, first.Apps)
	again, err := b.EnsureTemplate(t.Context(), []string{"contacts", "crm"})
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID, "one template for a set of apps in any order")
	op, err := b.ops.Latest(t.Context(), first.ID.Subject())
	require.NoError(t, err)
	opstest.Wait(t, b.ops, op.ID, ops.Done)
	ready, err := b.EnsureTemplate(t.Context(), []string{"contacts", "crm"})
	require.NoError(t, err)
	require.Equal(t, provision.TemplateReady, ready.State)
	require.NoError(t, b.EnsureTemplates(t.Context()), "those of all plans")
	list, err := provision.Templates(t.Context(), b.pool)
	require.NoError(t, err)
	require.Len(t, list, 3)
}

func TestATemplateThatCannotBeBuiltSaysSo(t *testing.T) {
	t.Parallel()
	b, w := setup(t)
	w.fail("RunContainer", errors.New("no such module"))
	b.ops = opstest.Start(t, b.pool, b.BuildWorkflow())
	b.Service = b.service(t, b.ops, w, w)
	first, err := b.EnsureTemplate(t.Context(), []string{"nonsense"})
	require.NoError(t, err)
	op, err := b.ops.Latest(t.Context(), first.ID.Subject())
	require.NoError(t, err)
	opstest.Wait(t, b.ops, op.ID, ops.Held)
	_, err = b.EnsureTemplate(t.Context(), []string{"nonsense"})
	require.ErrorIs(t, err, provision.ErrTemplateFailed)

	w.fail("RunContainer", nil)
	require.NoError(t, b.ops.Retry(t.Context(), op.ID))
	opstest.Wait(t, b.ops, op.ID, ops.Done)
	ready, err := b.EnsureTemplate(t.Context(), []string{"nonsense"})
	require.NoError(t, err)
	require.Equal(t, provision.TemplateReady, ready.State)
}

func TestAPaidTenantWaitsForItsTemplate(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.build(t)
	_, err := s.pool.Exec(t.Context(), "DELETE FROM templates")
	require.NoError(t, err)
	worker := s.start(t, s.ProvisionWorkflow(), s.BuildWorkflow())
	var op ops.Operation
	require.NoError(t, pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) (err error) {
		op, err = worker.EnqueueTx(t.Context(), tx, provision.ProvisionKind, s.tenant.ID.Subject(), s.input)
		return err
	}))
	op = opstest.Wait(t, worker, op.ID, ops.Done)
	require.LessOrEqual(t, op.Attempt, 1, "waiting costs no attempt")
}

func TestProvisioning_AChangedImageDoesNotMakeCustomersWait(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	workflow := s.build(t)
	_, err := s.pool.Exec(t.Context(), "UPDATE templates SET image_id = 'sha256:before'")
	require.NoError(t, err)
	op := s.finish(t, workflow, nil)
	require.Equal(t, "publish", op.Step)
	require.Equal(t, "sha256:before", s.world.containers["odoo_acme"].Image, "the image of the template it was cloned from")
	list, err := provision.Templates(t.Context(), s.pool)
	require.NoError(t, err)
	require.Len(t, list, 2, "the new image's template is asked for")
}
