package tenants_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestUpdate_Owner(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	tenant := b.create(ada, "acme")

	got, err := b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{Email: ptr(" new@example.test "), PlanID: ptr("business")})
	require.NoError(t, err)
	require.Equal(t, "new@example.test", got.Tenant.Email)
	require.Equal(t, "business", got.Tenant.PlanID)

	_, err = b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{Notes: ptr("mine")})
	require.ErrorIs(t, err, tenants.ErrAdminOnly)
	_, err = b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{Email: ptr("bad"), PlanID: ptr("basic")})
	require.ErrorIs(t, err, tenants.ErrBadEmail)

	b.activate(tenant.ID)
	_, err = b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("enterprise")})
	require.ErrorIs(t, err, tenants.ErrPlanLocked)
	_, err = b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("gold")})
	require.ErrorIs(t, err, tenants.ErrUnknownPlan)
	got, err = b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("business"), Email: ptr("last@example.test")})
	require.NoError(t, err, "the plan it has is no change")
	require.Equal(t, "last@example.test", got.Tenant.Email)
	require.Equal(t, 2, b.count("FROM activity_log WHERE action = 'client.update'"))
}

func TestUpdate_NotesByAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	boss := b.admin()
	b.create(b.account("ada"), "acme")

	got, err := b.Update(t.Context(), boss, b.ip, "acme", tenants.UpdateInput{Notes: ptr("line\nline ✓")})
	require.NoError(t, err)
	require.Equal(t, "line\nline ✓", got.Tenant.Notes)
	for _, notes := range []string{"\x00", "\x1b[31m", "\xff", strings.Repeat("é", 10_001)} {
		_, err := b.Update(t.Context(), boss, b.ip, "acme", tenants.UpdateInput{Notes: ptr(notes)})
		require.ErrorIs(t, err, tenants.ErrBadNotes, "%.10q", notes)
	}
	got, err = b.Update(t.Context(), boss, b.ip, "acme", tenants.UpdateInput{Notes: ptr("")})
	require.NoError(t, err)
	require.Empty(t, got.Tenant.Notes)
}

// Whoever comes second finds the client as the first one left it.
func TestUpdate_PlanAgainstPayment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	tenant := b.create(ada, "acme")
	seen := inParallel(2, func(i int) error {
		if i == 0 {
			return b.tx(func(ctx context.Context, tx pgx.Tx) error {
				_, err := b.MarkPaidTx(ctx, tx, tenant.ID, "ODOO-1")
				return err
			})
		}
		_, err := b.Update(t.Context(), ada, b.ip, "acme", tenants.UpdateInput{PlanID: ptr("enterprise")})
		return err
	})
	require.NoError(t, seen[0])
	found, err := b.ByID(t.Context(), tenant.ID)
	require.NoError(t, err)
	require.Equal(t, tenants.Provisioning, found.State)
	require.Equal(t, seen[1] == nil, found.PlanID == "enterprise")
}

func TestMarkPaidTx_OnlyOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tenant := b.create(b.account("ada"), "acme")
	activated := make([]bool, 10)
	for _, err := range inParallel(10, func(i int) error {
		return b.tx(func(ctx context.Context, tx pgx.Tx) (err error) {
			activated[i], err = b.MarkPaidTx(ctx, tx, tenant.ID, "ODOO-"+tenants.ID(i).String())
			return err
		})
	}) {
		require.NoError(t, err)
	}
	won := 0
	for i, a := range activated {
		if a {
			won++
			found, err := b.ByID(t.Context(), tenant.ID)
			require.NoError(t, err)
			require.Equal(t, "ODOO-"+tenants.ID(i).String(), found.PaymentReference)
			require.Equal(t, "success", found.PaymentStatus)
		}
	}
	require.Equal(t, 1, won)
	require.Equal(t, []tenants.State{tenants.Pending, tenants.Provisioning}, b.history(tenant.ID))
}
