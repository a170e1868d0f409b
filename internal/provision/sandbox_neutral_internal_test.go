package provision

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
)

// endless is an engine whose containers end when nobody waits for them any more.
type endless struct{ Runtime }

func (endless) RunContainer(ctx context.Context, _ Container) (RunResult, error) {
	<-ctx.Done()
	return RunResult{}, ctx.Err()
}

// A database may be made so that neutralising it never ends, which is its own fault and not the engine's: who tells them apart doesn't try
// it for as long as an outage may last.
func TestRunNeutraliser_Endless(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{runtime: endless{}}
		begun := time.Now()
		err := s.runNeutraliser(t.Context(), Container{}, TenantDatabase{Name: "odoo_acme"})
		require.ErrorIs(t, err, ErrNotNeutralised)
		require.Equal(t, errs.Conflict, errs.KindOf(err))
		require.Equal(t, neutraliseTimeout, time.Since(begun))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NotErrorIs(t, s.runNeutraliser(ctx, Container{}, TenantDatabase{}), ErrNotNeutralised, "we had no time")
	})
}
