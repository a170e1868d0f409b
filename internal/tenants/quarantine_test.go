package tenants_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

func (b *bundle) quarantine(id tenants.ID) {
	b.t.Helper()
	require.NoError(b.t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		return b.QuarantineTx(ctx, tx, id, "ada", "A copy of shop as of yesterday")
	}))
}

func TestRelease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	acme := b.create(ada, "acme")
	b.activate(acme.ID)
	_, err := b.Release(t.Context(), ada, b.ip, "acme", "acme")
	require.ErrorIs(t, err, tenants.ErrNotQuarantined)

	b.quarantine(acme.ID)
	got, err := b.ByID(t.Context(), acme.ID)
	require.NoError(t, err)
	require.Equal(t, []any{b.clock(), "ada", "A copy of shop as of yesterday"}, []any{got.QuarantinedAt.UTC(), got.QuarantinedBy, got.QuarantineCause})
	for _, confirm := range []string{"", "ACME", "yes"} {
		_, err := b.Release(t.Context(), ada, b.ip, "acme", confirm)
		require.ErrorIs(t, err, tenants.ErrNotConfirmed)
	}
	_, err = b.Release(t.Context(), b.account("eve"), b.ip, "acme", "acme")
	require.ErrorIs(t, err, tenants.ErrNotFound)

	c, err := b.Release(t.Context(), ada, b.ip, "acme", "acme")
	require.NoError(t, err)
	require.Equal(t, "active/active tenant.resume", outcome(c, err), "its container is made anew")
	require.Nil(t, c.Tenant.QuarantinedAt)
	require.Nil(t, c.Tenant.NeutralisedAt)
	require.Equal(t, 1, b.count("FROM activity_log WHERE action = 'client.release' AND actor = 'ada' AND detail ? 'quarantined_at'"))
	_, err = b.Release(t.Context(), ada, b.ip, "acme", "acme")
	require.ErrorIs(t, err, tenants.ErrNotQuarantined)
}

func TestRelease_OfWhatDoesNotRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	acme := b.create(ada, "acme")
	b.activate(acme.ID)
	b.quarantine(acme.ID)
	require.NoError(t, b.move(acme.ID, tenants.Active, tenants.Maintenance))
	_, err := b.Release(t.Context(), ada, b.ip, "acme", "acme")
	require.ErrorIs(t, err, tenants.ErrConflict)
	require.NoError(t, b.move(acme.ID, tenants.Maintenance, tenants.Active))
	require.NoError(t, b.move(acme.ID, tenants.Active, tenants.Suspended))
	c, err := b.Release(t.Context(), ada, b.ip, "acme", "acme")
	require.Equal(t, "suspended/suspended -", outcome(c, err), "it is started by whoever resumes it")
	require.Nil(t, c.Tenant.QuarantinedAt)
}

func TestNeutralise(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, boss := b.account("ada"), b.admin()
	acme := b.create(ada, "acme")
	b.activate(acme.ID)
	_, err := b.Neutralise(t.Context(), ada, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrNotQuarantined)
	b.quarantine(acme.ID)
	_, err = b.Neutralise(t.Context(), b.account("eve"), b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrNotFound)

	first, err := b.Neutralise(t.Context(), ada, b.ip, "acme")
	require.Equal(t, "active/active tenant.neutralise", outcome(first, err))
	require.NoError(t, b.move(acme.ID, tenants.Active, tenants.Maintenance))
	again, err := b.Neutralise(t.Context(), boss, b.ip, "acme")
	require.NoError(t, err)
	require.Equal(t, first.Operation.ID, again.Operation.ID, "the same work")
	require.Equal(t, 1, b.count("FROM operations WHERE kind = 'tenant.neutralise'"))

	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		got, err := b.EndQuarantineTx(ctx, tx, acme.ID, true)
		require.Nil(t, got.QuarantinedAt)
		require.NotNil(t, got.NeutralisedAt)
		return err
	}))
	require.NoError(t, b.move(acme.ID, tenants.Maintenance, tenants.Active))
	_, err = b.pool.Exec(t.Context(), "UPDATE operations SET state = $1, finished_at = now()", ops.Done)
	require.NoError(t, err)
	done, err := b.Neutralise(t.Context(), ada, b.ip, "acme")
	require.Equal(t, "active/active -", outcome(done, err), "it is")

	b.quarantine(acme.ID)
	got, err := b.ByID(t.Context(), acme.ID)
	require.NoError(t, err)
	require.Nil(t, got.NeutralisedAt, "what it holds now is another copy")
}
