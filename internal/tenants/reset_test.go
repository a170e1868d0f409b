package tenants_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestReset(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	tenant := b.create(ada, "acme")
	begin := func() error {
		return b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.BeginResetTx(ctx, tx, tenant.ID) })
	}
	finish := func() error {
		return b.tx(func(ctx context.Context, tx pgx.Tx) error {
			return b.FinishResetTx(ctx, tx, tenant.ID, "boss@acme.test")
		})
	}
	require.ErrorIs(t, begin(), tenants.ErrNoSecrets)
	b.activate(tenant.ID)
	require.ErrorIs(t, finish(), tenants.ErrNoSecrets, "nothing has begun")
	first, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Empty(t, first.PendingPassword)

	require.NoError(t, begin())
	during, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Len(t, during.PendingPassword, 16)
	require.NotEqual(t, first.AdminPassword, during.PendingPassword)
	_, err = b.Credentials(t.Context(), ada, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrResetting)

	require.NoError(t, finish())
	got, err := b.Credentials(t.Context(), ada, b.ip, "acme")
	require.NoError(t, err)
	require.Equal(t, tenants.Credentials{Login: "boss@acme.test", Password: during.PendingPassword, Domain: "acme.example.test"}, got)
	_, err = b.Credentials(t.Context(), ada, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrCredentialsRead)
}

func TestAbortReset(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	tenant := b.create(ada, "acme")
	b.activate(tenant.ID)
	require.NoError(t, b.AbortReset(t.Context(), tenant.ID), "nothing has begun")
	known, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.NotEmpty(t, known.AdminPassword, "so nothing is forgotten")

	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.BeginResetTx(ctx, tx, tenant.ID) }))
	for range 2 {
		require.NoError(t, b.AbortReset(t.Context(), tenant.ID))
	}
	_, err = b.Credentials(t.Context(), ada, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrCredentialsRead)
}

func TestRekey_DuringAReset(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")
	b.activate(tenant.ID)
	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.BeginResetTx(ctx, tx, tenant.ID) }))
	before, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	const newKey = "another-key-of-thirty-two-bytes!"
	changed, err := b.with(newKey + "," + dataKey).Rekey(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, changed)
	after, err := b.with(newKey).Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
