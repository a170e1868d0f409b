package backup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
)

// told returns what the open alert of a kind says, "" if there is none.
func (p *plant) told(kind string) string {
	p.Helper()
	rows, err := p.pool.Query(p.Context(), "SELECT message FROM alerts WHERE kind = $1 AND resolved_at IS NULL", kind)
	require.NoError(p, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(p, err)
	require.LessOrEqual(p, len(all), 1)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// Who makes a database that takes for ever keeps nobody else waiting for long: what is done with it ends, and says why.
func TestADatabaseThatTakesForEverIsGivenUp(t *testing.T) {
	t.Parallel()
	p := build(t)
	engine := p.startProving()
	p.odoo.Exec(t, `CREATE FUNCTION slow() RETURNS boolean LANGUAGE sql AS 'SELECT true'; CREATE TABLE trap (a int CHECK (slow())); INSERT INTO trap VALUES (1);
		CREATE OR REPLACE FUNCTION slow() RETURNS boolean LANGUAGE sql AS 'SELECT pg_sleep(3600) IS NOT NULL'`)
	b := p.took(engine, backup.Daily, ops.Done)
	opstest.Stop(t, engine)

	p.patience = 5 * time.Second
	w := p.worker()
	engine = opstest.Start(t, p.pool, w.TakeWorkflow(), w.RestoreWorkflow(), w.ProveWorkflow())
	op, err := p.backups.Restore(t.Context(), b.ID, backup.RestoreInput{WithoutSafety: true})
	require.NoError(t, err)
	trial := p.prove(b)
	ended := opstest.Wait(t, engine, op.ID, ops.Abandoned)
	require.Contains(t, ended.Error, "far longer than so much data should")
	require.Contains(t, p.told("restore.too_long"), "far longer")
	require.Equal(t, 1000, p.odoo.Partners(t), "it is as it was")
	opstest.Wait(t, engine, trial.ID, ops.Abandoned)
	events, err := engine.Events(t.Context(), trial.ID)
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(events, func(e ops.Event) bool { return e.Event == "retry" }), "it keeps a sandbox from others once")
	require.Contains(t, p.reread(b).ProofError, "far longer")
	require.Contains(t, p.told("backup.proof_failed"), "far longer")
	require.Zero(t, p.cell.left())

	p.odoo.Exec(t, "CREATE VIEW sale_order AS SELECT 1 WHERE pg_sleep(3600) IS NOT NULL")
	b = p.took(engine, backup.Manual, ops.Abandoned)
	require.Equal(t, backup.Failed, b.State)
	require.Contains(t, b.Error, "far longer")
	require.Contains(t, p.told("backup.failed"), "far longer")
	p.idle()
}
