package provision_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/tenants"
)

// What was given up at any step goes on there once a person has seen to the cause, and ends as if nothing had happened.
func TestProvisioning_AHeldOneIsTriedAgainAndActivates(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"EnsureTenant", "EnsureNetwork", "StartContainer"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			op := s.run(t, map[string]error{method: errors.New("no space left on device")})
			failed, err := s.tenants.ByID(t.Context(), s.tenant.ID)
			require.NoError(t, err)
			require.Equal(t, tenants.Failed, failed.State)

			s.world.fail(method, nil)
			require.NoError(t, s.ops.Retry(t.Context(), op.ID))
			opstest.Wait(t, s.ops, op.ID, ops.Done)
			s.check(t)
			active, err := s.tenants.ByID(t.Context(), s.tenant.ID)
			require.NoError(t, err)
			require.Empty(t, active.Failure)
		})
	}
}

// A second failure leaves the tenant failed and the operation held, ready for a third try.
func TestProvisioning_ARetryThatFailsIsHeldAgain(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	op := s.run(t, map[string]error{"StartContainer": errors.New("no space left on device")})
	require.NoError(t, s.ops.Retry(t.Context(), op.ID))
	op = opstest.Wait(t, s.ops, op.ID, ops.Held)
	require.Equal(t, "start", op.Step)
	tenant, err := s.tenants.ByID(t.Context(), s.tenant.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Failed, tenant.State)
	require.NotEmpty(t, tenant.Failure)
}
