package provision_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

func TestKeepRunning_StartsWhatIsActiveAndStopped(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.run(t, nil)
	container := s.world.containers["odoo_acme"]

	container.running = false
	require.NoError(t, s.KeepRunning(t.Context()))
	require.True(t, container.running)

	starts := s.world.calls["StartContainer"]
	require.NoError(t, s.KeepRunning(t.Context()))
	require.Equal(t, starts, s.world.calls["StartContainer"], "one that runs is left alone")

	container.running = false
	s.world.fail("StartContainer", errors.New("no space left on device"))
	require.NoError(t, s.KeepRunning(t.Context()), "the other tenants aren't given up for one")
}

func TestKeepRunning_LeavesOtherStatesAlone(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.run(t, nil)
	container := s.world.containers["odoo_acme"]
	for _, state := range tenants.States() {
		if state == tenants.Active || state == tenants.Deleted {
			continue
		}
		container.running = false
		_, err := s.pool.Exec(t.Context(), "UPDATE tenants SET state = $1", state)
		require.NoError(t, err)
		require.NoError(t, s.KeepRunning(t.Context()))
		require.False(t, container.running, state)
	}
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
