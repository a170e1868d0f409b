package backup_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

func (o *office) proveDue(p *backup.Planner) int {
	o.Helper()
	n, err := p.ProveDue(o.Context())
	require.NoError(o, err)
	return n
}

// tried ends the trials that are under way.
func (o *office) tried(state backup.ProofState) {
	o.Helper()
	o.exec(`UPDATE backups b SET proven_at = CASE WHEN $1 = 'proven' THEN $2 ELSE proven_at END,
		proof_failed_at = CASE WHEN $1 = 'failed' THEN $2::timestamptz END, proof_error = CASE WHEN $1 = 'failed' THEN 'No answer.' END
		FROM backup_proofs p WHERE p.backup_id = b.id AND p.state = 'running'`, state, o.now)
	o.exec("UPDATE backup_proofs SET state = $1, finished_at = $2 WHERE state = 'running'", state, o.now)
	o.exec("UPDATE operations SET state = 'done', finished_at = now() WHERE finished_at IS NULL")
}

// Three weeks, hour by hour: each client's newest full backup is tried at least weekly, one at a time and spread over the week, also that of a
// client that stands still; nobody is told anything.
func TestProveDue_HourByHour(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	var all []tenants.ID
	for _, name := range []string{"one", "two", "three", "four", "five", "six"} {
		all = append(all, o.client(name, "basic"))
	}
	p := o.planner(backup.PlannerOptions{Parallel: 100})
	begin, hours := o.now, map[time.Time]bool{}
	last := map[tenants.ID]time.Time{}
	for o.now.Before(begin.AddDate(0, 0, 22)) {
		o.takeDue(p)
		o.done()
		if o.now.Equal(begin.AddDate(0, 0, 7)) {
			o.move(all[0], tenants.Suspended)
		}
		for o.proveDue(p) > 0 {
			require.Equal(t, 1, o.count("backup_proofs WHERE state = 'running'"))
			require.Zero(t, o.proveDue(p), "one at a time")
			var id tenants.ID
			var newest bool
			require.NoError(t, o.pool.QueryRow(t.Context(), `SELECT p.tenant_id, b.id = (SELECT max(n.id) FROM backups n WHERE n.tenant_id = p.tenant_id)
				FROM backup_proofs p JOIN backups b ON b.id = p.backup_id WHERE p.state = 'running'`).Scan(&id, &newest))
			require.True(t, newest)
			if before, ok := last[id]; ok {
				require.LessOrEqual(t, o.now.Sub(before), 7*24*time.Hour)
			}
			last[id], hours[o.now] = o.now, true
			o.tried(backup.ProofProven)
		}
		_, err := p.Watch(t.Context())
		require.NoError(t, err)
		require.Empty(t, o.openAlerts("backup.unproven"))
		o.now = o.now.Add(time.Hour)
	}
	for _, id := range all {
		require.Equal(t, 3, o.count("backup_proofs WHERE tenant_id = $1", id), "a trial a week")
		require.NotNil(t, o.outlook(p, id).Proven)
	}
	require.Greater(t, len(hours), 12, "spread over the week")
	for _, id := range all {
		o.move(id, tenants.Deleting)
	}
	o.now = o.now.AddDate(0, 0, 8)
	require.Zero(t, o.proveDue(p))
}

// What fails is followed by the next newest, after an hour; what keeps failing is tried once a day. Nobody is told that nothing is proven
// before eight days are over, and then until something is.
func TestProveDue_WhatFails(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	o.take(id, backup.Daily)
	o.done()
	o.exec("UPDATE backups SET state = 'deleted', deleted_at = $1", o.now) // there was one, from which on time counts
	o.now = o.now.AddDate(0, 0, 4)
	older := o.take(id, backup.Daily)
	o.done()
	o.now = o.now.AddDate(0, 0, 1)
	newer := o.take(id, backup.Manual)
	o.done()
	o.now = o.now.AddDate(0, 0, 2)
	begin := o.now
	tried := func() (which backup.ID) {
		t.Helper()
		if o.proveDue(p) == 1 {
			require.NoError(t, o.pool.QueryRow(t.Context(), "SELECT backup_id FROM backup_proofs WHERE state = 'running'").Scan(&which))
			o.tried(backup.ProofFailed)
		}
		return which
	}
	require.Equal(t, newer.ID, tried())
	require.Zero(t, tried(), "not before an hour has gone by")
	o.now = o.now.Add(time.Hour)
	require.Equal(t, older.ID, tried())
	o.now = o.now.Add(time.Hour)
	require.Equal(t, newer.ID, tried(), "it may have been the sandbox")
	o.now = o.now.Add(time.Hour)
	require.Zero(t, tried())
	watch := func() map[string]string {
		t.Helper()
		_, err := p.Watch(t.Context())
		require.NoError(t, err)
		return o.openAlerts("backup.unproven")
	}
	require.Empty(t, watch())
	o.now = begin.AddDate(0, 0, 1).Add(2 * time.Hour)
	require.Contains(t, watch(), id.Subject())
	require.Equal(t, 1, o.proveDue(p), "a day later")
	o.tried(backup.ProofProven)
	require.Empty(t, watch())
	require.Zero(t, o.proveDue(p))
}

// A trial waits while the hosts lack something, and what an administrator abandoned holds up nobody.
func TestProveDue_WaitsForRoom(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	o.take(id, backup.Daily)
	o.done()
	o.exec("UPDATE backups SET database_bytes = 1 << 30, filestore_bytes = 1 << 30")
	o.now = o.now.AddDate(0, 0, 7)
	lacking := "memory"
	p, err := backup.NewPlanner(backup.PlannerDeps{
		Pool: o.pool, Backups: o.backups, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return o.now },
		Lacking: func(_ context.Context, memoryMB, diskMB int64) (string, error) {
			require.EqualValues(t, 2048, memoryMB)
			require.EqualValues(t, 3*2048, diskMB)
			return lacking, nil
		},
	}, backup.PlannerOptions{})
	require.NoError(t, err)
	require.Zero(t, o.proveDue(p))
	lacking = ""
	require.Equal(t, 1, o.proveDue(p))
	o.exec("UPDATE operations SET state = 'abandoned', finished_at = now() WHERE finished_at IS NULL")
	require.Zero(t, o.proveDue(p), "that was its turn")
	require.Equal(t, 1, o.count("backup_proofs WHERE state = 'given_up'"))
	o.now = o.now.Add(time.Hour)
	require.Equal(t, 1, o.proveDue(p))
}

// Each trial has a slot of its own, until what it left is removed.
func TestProve_Slots(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	var ids []backup.ID
	for _, name := range []string{"one", "two", "three", "four"} {
		ids = append(ids, o.take(o.client(name, "basic"), backup.Daily).ID)
		o.done()
	}
	for _, id := range ids[:3] {
		_, err := o.backups.Prove(t.Context(), id, "system")
		require.NoError(t, err)
	}
	require.Equal(t, 3, o.count("(SELECT DISTINCT slot FROM backup_proofs) s"))
	_, err := o.backups.Prove(t.Context(), ids[3], "system")
	require.ErrorIs(t, err, backup.ErrTooManyTrials)
	o.exec("UPDATE backup_proofs SET state = 'failed', finished_at = $1 WHERE backup_id = $2", o.now, ids[1])
	o.exec("UPDATE operations SET state = 'unwinding' WHERE subject = $1 AND finished_at IS NULL", ids[1].Subject())
	_, err = o.backups.Prove(t.Context(), ids[3], "system")
	require.ErrorIs(t, err, backup.ErrTooManyTrials, "the sandbox is still there")
	o.exec("UPDATE operations SET state = 'held' WHERE subject = $1 AND finished_at IS NULL", ids[1].Subject())
	var op ops.Operation
	op, err = o.backups.Prove(t.Context(), ids[3], "system")
	require.NoError(t, err)
	require.Equal(t, ids[3].Subject(), op.Subject)
}

// A proof of what was old already says nothing of what came since.
func TestWatch_StaleProofs(t *testing.T) {
	t.Parallel()
	o := openOffice(t)
	id := o.client("acme", "basic")
	p := o.planner(backup.PlannerOptions{})
	o.take(id, backup.Daily)
	o.done()
	o.now = o.now.AddDate(0, 0, 9)
	o.exec("UPDATE backups SET proven_at = $1", o.now)
	require.NotNil(t, o.outlook(p, id).Proven, "there is nothing newer")
	o.take(id, backup.Daily)
	o.done()
	require.Nil(t, o.outlook(p, id).Proven)
}
