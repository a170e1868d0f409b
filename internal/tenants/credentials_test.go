package tenants_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestCredentials_Once(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	tenant := b.create(ada, "acme")
	_, err := b.Credentials(t.Context(), ada, b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrNotReady)
	b.activate(tenant.ID)
	_, err = b.Credentials(t.Context(), b.admin(), b.ip, "acme")
	require.ErrorIs(t, err, tenants.ErrOwnerOnly)

	minted, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	got := make([]tenants.Credentials, 8)
	seen := inParallel(8, func(i int) (err error) {
		got[i], err = b.Credentials(t.Context(), ada, b.ip, "acme")
		return err
	})
	won := 0
	for i, err := range seen {
		if err != nil {
			require.ErrorIs(t, err, tenants.ErrCredentialsRead)
			require.Empty(t, got[i].Password)
			continue
		}
		won++
		require.Equal(t, tenants.Credentials{Login: "ada@example.test", Password: minted.AdminPassword, Domain: "acme.example.test"}, got[i])
	}
	require.Equal(t, 1, won)
	require.Equal(t, 1, b.count("FROM activity_log WHERE action = 'client.credentials_read'"))

	after, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Empty(t, after.AdminPassword, "it is forgotten")
	require.Equal(t, minted.DBPassword, after.DBPassword)

	require.NoError(t, b.tx(func(ctx context.Context, tx pgx.Tx) error {
		return b.SetAdminPasswordTx(ctx, tx, tenant.ID, "fresh-one")
	}))
	again, err := b.Credentials(t.Context(), ada, b.ip, "acme")
	require.NoError(t, err)
	require.Equal(t, "fresh-one", again.Password.Reveal())
}

func TestMintSecretsTx_IsIdempotentAndSealed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")
	mint := func(id tenants.ID) error {
		return b.tx(func(ctx context.Context, tx pgx.Tx) error { return b.MintSecretsTx(ctx, tx, id) })
	}
	_, err := b.Secrets(t.Context(), tenant.ID)
	require.ErrorIs(t, err, tenants.ErrNoSecrets)
	require.NoError(t, mint(tenant.ID))
	first, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.NoError(t, mint(tenant.ID))
	second, err := b.Secrets(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Equal(t, first, second)
	require.ErrorIs(t, mint(999), tenants.ErrNotFound)

	require.Len(t, first.DBPassword, 24)
	require.NotEqual(t, first.DBPassword, first.MasterPassword)
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", first, first, first), first.DBPassword.Reveal())
	stored := b.count("FROM tenant_secrets WHERE strpos(encode(db_password, 'escape'), $1) > 0 OR strpos(encode(admin_password, 'escape'), $2) > 0",
		first.DBPassword.Reveal(), first.AdminPassword.Reveal())
	require.Zero(t, stored)

	// A value moved to another column doesn't open.
	_, err = b.pool.Exec(t.Context(), "UPDATE tenant_secrets SET db_password = master_password")
	require.NoError(t, err)
	_, err = b.Secrets(t.Context(), tenant.ID)
	require.Error(t, err)
}

func TestRekey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	var ids []tenants.ID
	for _, name := range []string{"one", "two", "three"} {
		tenant := b.create(ada, name)
		b.activate(tenant.ID)
		ids = append(ids, tenant.ID)
	}
	_, err := b.Credentials(t.Context(), ada, b.ip, "two")
	require.NoError(t, err)
	before, err := b.Secrets(t.Context(), ids[0])
	require.NoError(t, err)

	const newKey = "another-key-of-thirty-two-bytes!"
	both := b.with(newKey + "," + dataKey)
	changed, err := both.Rekey(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, changed)
	changed, err = both.Rekey(t.Context())
	require.NoError(t, err)
	require.Zero(t, changed)
	require.Equal(t, 3, b.count("FROM activity_log WHERE action = 'client.secrets_rekey' AND actor = 'operator'"))

	after, err := b.with(newKey).Secrets(t.Context(), ids[0])
	require.NoError(t, err)
	require.Equal(t, before, after)
	_, err = b.Secrets(t.Context(), ids[0])
	require.Error(t, err, "the old key alone opens nothing any more")
}
