package backup_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres"
	"controlplane/internal/provision"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// adopter is a runner that gives copies their identity, and on which nothing starts for a while.
type adopter struct {
	*runner
	tenants *tenants.Service
	cluster *pgcluster.Cluster
	fails   atomic.Int64
}

func (a *adopter) Adopt(ctx context.Context, t tenants.Tenant, database string) error {
	known, err := a.tenants.Secrets(ctx, t.ID)
	if err != nil {
		return err
	}
	db := provision.TenantDatabase{Name: t.DBName, Subject: t.ID.Subject(), Password: known.DBPassword}
	return a.cluster.Adopt(ctx, db, database, "https://"+t.PrimaryDomain)
}

func (a *adopter) Run(ctx context.Context, t tenants.Tenant) error {
	if a.fails.Add(-1) >= 0 {
		return errors.New("it stops again and again")
	}
	return a.runner.Run(ctx, t)
}

// second makes another client, of which all that follows is done; it returns the first one's Odoo.
func (p *plant) second() (original *backuptest.Odoo, run *adopter) {
	p.Helper()
	original = p.odoo
	p.tenant = p.active("copy-" + secrets.RandomHex(3))
	known, err := p.tenants.Secrets(p.Context(), p.tenant.ID)
	require.NoError(p, err)
	p.odoo = backuptest.NewOdooOf(p.T, p.tenant.DBName, known.DBPassword)
	cluster := p.odoo.Cluster(p.T, p.tenant.ID.Subject())
	run = &adopter{runner: p.runner, tenants: p.tenants, cluster: cluster}
	p.cluster, p.run = cluster, run
	p.file("what the copy's client had")
	p.odoo.Exec(p.T, "DELETE FROM res_partner WHERE id > 5")
	return original, run
}

func (p *plant) now() tenants.Tenant {
	p.Helper()
	t, err := p.tenants.ByID(p.Context(), p.tenant.ID)
	require.NoError(p, err)
	return t
}

func TestRestore_IntoAnotherClientMakesACopyInQuarantine(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	require.False(t, b.Quarantined)
	opstest.Stop(t, engine)
	first := p.tenant
	original, run := p.second()
	engine = p.start()
	restore := func(id backup.ID, want ops.State) ops.Operation {
		op, err := p.backups.Restore(t.Context(), id, backup.RestoreInput{Into: p.tenant.ID, By: "ada", WithoutSafety: true})
		require.NoError(t, err)
		return opstest.Wait(t, engine, op.ID, want)
	}

	p.odoo.Exec(t, "UPDATE ir_module_module SET latest_version = '18.0.1.3' WHERE name = 'base'")
	require.Contains(t, restore(b.ID, ops.Abandoned).Error, "The backup is of Odoo 19.0, and client "+p.tenant.Name+" has Odoo 18.0.")
	p.odoo.Exec(t, "UPDATE ir_module_module SET latest_version = '19.0.1.3' WHERE name = 'base'")
	run.fails.Store(3) // on what was restored, as often as it is tried
	restore(b.ID, ops.Abandoned)
	require.Equal(t, 5, p.odoo.Partners(t), "it is as it was")
	require.Equal(t, tenants.Quarantine{}, p.now().Quarantine())

	run.fails.Store(0)
	restore(b.ID, ops.Done)
	require.Equal(t, 1000, p.odoo.Partners(t))
	require.Contains(t, p.files(), backuptest.FileName(logo))
	require.NotContains(t, p.files(), backuptest.FileName("what the copy's client had"))
	require.Len(t, p.odoo.Parameter(t, "database.uuid"), 36)
	require.NotEqual(t, original.Parameter(t, "database.uuid"), p.odoo.Parameter(t, "database.uuid"))
	require.NotEmpty(t, p.odoo.Parameter(t, "database.secret"))
	require.Equal(t, []string{"https://" + p.tenant.Domain, "True"},
		[]string{p.odoo.Parameter(t, "web.base.url"), p.odoo.Parameter(t, "web.base.url.freeze")})
	row := p.now()
	require.NotNil(t, row.QuarantinedAt)
	require.Equal(t, "ada", row.QuarantinedBy)
	require.Contains(t, row.QuarantineCause, "It is a copy of client "+first.Name+" as of ")
	known, err := p.tenants.Secrets(t.Context(), p.tenant.ID)
	require.NoError(t, err)
	require.Empty(t, known.AdminPassword, "it isn't the password of any user any more")
	source, err := p.tenants.ByID(t.Context(), first.ID)
	require.NoError(t, err)
	require.Nil(t, source.QuarantinedAt)

	// What is taken of it leads back into quarantine, also after that has ended.
	inside := p.took(engine, backup.Daily, ops.Done)
	require.True(t, inside.Quarantined)
	require.NoError(t, postgres.InTx(t.Context(), p.pool, func(tx pgx.Tx) error {
		_, err := p.tenants.EndQuarantineTx(t.Context(), tx, p.tenant.ID, true)
		return err
	}))
	outside := p.took(engine, backup.Manual, ops.Done)
	require.False(t, outside.Quarantined)
	restore(outside.ID, ops.Done)
	require.NotNil(t, p.now().NeutralisedAt)
	restore(inside.ID, ops.Done)
	row = p.now()
	require.NotNil(t, row.QuarantinedAt)
	require.Nil(t, row.NeutralisedAt)
	require.Contains(t, row.QuarantineCause, "when it was a copy in quarantine")
	p.idle()
}

// A new client that is to be a copy is closed until it is one, and is opened as it is when it can't be.
func TestFollow(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.start()
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)
	_, _ = p.second()
	require.NoError(t, postgres.InTx(t.Context(), p.pool, func(tx pgx.Tx) error {
		return p.tenants.SetCopyOfTx(t.Context(), tx, p.tenant.ID, int64(b.ID))
	}))
	_, err := p.backups.Delete(t.Context(), b.ID)
	require.ErrorIs(t, err, backup.ErrInUse)
	p.odoo.Exec(t, "UPDATE ir_module_module SET latest_version = '18.0.1.3' WHERE name = 'base'")
	states := func() (all []string) {
		rows, err := p.pool.Query(t.Context(), "SELECT to_state FROM tenant_events WHERE tenant_id = $1 ORDER BY id", p.tenant.ID)
		require.NoError(t, err)
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return all
	}
	before := len(states())

	const kind = "tenant.activate"
	w := p.worker()
	engine = opstest.Start(t, p.pool, w.RestoreWorkflow(), ops.Workflow{Kind: kind, Steps: []ops.Step{{
		Name: "activate", Tx: func(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
			return p.backups.FollowTx(ctx, tx, r, p.tenant.ID)
		},
	}}})
	var op ops.Operation
	require.NoError(t, postgres.InTx(t.Context(), p.pool, func(tx pgx.Tx) (err error) {
		op, err = engine.EnqueueTx(t.Context(), tx, kind, p.tenant.ID.Subject(), nil)
		return err
	}))
	opstest.Wait(t, engine, op.ID, ops.Done)
	latest, err := engine.Latest(t.Context(), p.tenant.ID.Subject())
	require.NoError(t, err)
	require.Equal(t, backup.RestoreKind, latest.Kind)
	opstest.Wait(t, engine, latest.ID, ops.Abandoned)
	require.Equal(t, []string{"maintenance", "active"}, states()[before:])
	require.Zero(t, p.now().CopyOf)
	require.Nil(t, p.now().QuarantinedAt)
	require.Equal(t, 5, p.odoo.Partners(t))
	require.Equal(t, 1, p.openAlerts())
}
