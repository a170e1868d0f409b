package provision_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// slowBackup is a final backup that is taken elsewhere, and is there at the third look.
type slowBackup struct{ looks atomic.Int32 }

func (b *slowBackup) Ensure(context.Context, tenants.Tenant) error {
	if b.looks.Add(1) < 3 {
		return provision.ErrBackupGoingOn
	}
	return nil
}

// A backup that takes its time costs no attempt and raises nothing.
func TestDelete_LooksAfterABackupThatGoesOn(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.live(t, isDeleting, true)
	b := &slowBackup{}
	var err error
	s.Service, err = provision.New(provision.Deps{
		Pool: s.pool, Ops: s.ops, Tenants: s.tenants, Runtime: s.world, Database: s.world, Log: s.log, FinalBackup: b,
	}, s.options)
	require.NoError(t, err)
	op := s.do(t, tenants.DeleteKind, ops.Done)
	require.EqualValues(t, 3, b.looks.Load())
	require.Equal(t, 1, op.Attempt)
	s.requireGone(t)
}
