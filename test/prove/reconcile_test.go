package prove_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/test/rig"
)

// TestReconcile_AtTheStart is what a host finds after somebody tidied up by hand while the control plane was down: all that should run
// comes back, what is suspended or scheduled for deletion doesn't, and what belongs to nobody is told of.
func TestReconcile_AtTheStart(t *testing.T) {
	ctx, w := t.Context(), shared
	var gone, halted, suspended, scheduled tenant
	for _, one := range []*tenant{&gone, &halted, &suspended, &scheduled} {
		owner, err := w.SignUp(ctx)
		require.NoError(t, err)
		*one, err = w.provision(ctx, owner, plan)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		_, _ = rig.Docker(context.Background(), "volume", "rm", "--force", "odoo_leftover"+gone.Name)
		for _, one := range []tenant{gone, halted, suspended, scheduled} {
			require.NoError(t, remove(context.Background(), w, subject{tenant: one}))
		}
	})
	require.NoError(t, post(w.admin, suspended, "suspend")(ctx))
	require.NoError(t, post(w.admin, scheduled, "schedule-delete")(ctx))
	require.NoError(t, rig.Eventually(ctx, rig.SettleTimeout, func(ctx context.Context) error {
		return errors.Join(w.stopped(ctx, suspended, "suspended"), w.stopped(ctx, scheduled, "scheduled_for_deletion"))
	}))

	w.serve.Kill()
	for _, args := range [][]string{
		{"rm", "--force", "odoo_" + gone.Name},
		{"network", "rm", gone.Name + "_network"},
		{"stop", "odoo_" + halted.Name},
		{"start", "odoo_" + suspended.Name},
		{"start", "odoo_" + scheduled.Name},
		{"volume", "create", "--label", "com.odoo-cloud.installation=" + w.Installation, "--label", "com.odoo-cloud.client=999999", "odoo_leftover" + gone.Name},
	} {
		_, err := rig.Docker(ctx, args...)
		require.NoError(t, err, args)
	}
	require.NoError(t, w.restart(ctx))
	require.NoError(t, rig.Eventually(ctx, rig.SettleTimeout, func(ctx context.Context) error {
		return errors.Join(w.active(ctx, gone), w.active(ctx, halted), w.stopped(ctx, suspended, "suspended"), w.stopped(ctx, scheduled, "scheduled_for_deletion"))
	}))

	require.ErrorContains(t, w.commandOrphans(ctx), "odoo_leftover"+gone.Name)
	require.NoError(t, rig.Eventually(ctx, rig.SettleTimeout, func(ctx context.Context) error {
		return w.holds(ctx, "SELECT EXISTS (SELECT FROM orphans WHERE name = $1) AND EXISTS (SELECT FROM alerts WHERE kind = 'orphans.found' AND resolved_at IS NULL)",
			"odoo_leftover"+gone.Name)
	}))
	_, err := rig.Docker(ctx, "volume", "rm", "odoo_leftover"+gone.Name)
	require.NoError(t, err)
	require.NoError(t, w.commandOrphans(ctx))
}

// TestReconcile_ADatabaseThatIsGoneIsNotMadeAnew leaves the tenant to a person.
func TestReconcile_ADatabaseThatIsGoneIsNotMadeAnew(t *testing.T) {
	ctx, w := t.Context(), shared
	owner, err := w.SignUp(ctx)
	require.NoError(t, err)
	one, err := w.provision(ctx, owner, plan)
	require.NoError(t, err)
	w.serve.Kill()
	database := "odoo_" + strings.ReplaceAll(one.Name, "-", "_")
	_, err = w.cluster.Exec(ctx, "DROP DATABASE "+database+" WITH (FORCE)")
	require.NoError(t, err)
	_, err = rig.Docker(ctx, "rm", "--force", "odoo_"+one.Name)
	require.NoError(t, err)
	require.NoError(t, w.restart(ctx))
	require.NoError(t, rig.Eventually(ctx, rig.SettleTimeout, func(ctx context.Context) error {
		return w.holds(ctx, "SELECT EXISTS (SELECT FROM alerts WHERE kind = 'tenant.data_missing' AND subject = $1 AND resolved_at IS NULL)"+
			" AND EXISTS (SELECT FROM operations WHERE subject = $1 AND state = 'held')", one.Subject)
	}))
	var exists bool
	require.NoError(t, w.cluster.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&exists))
	require.False(t, exists)
	runs, err := w.running(ctx, one)
	require.NoError(t, err)
	require.False(t, runs)
	require.NoError(t, remove(ctx, w, subject{tenant: one}))
	require.NoError(t, w.orphans(ctx))
}
