package prove_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/test/rig"
)

const dueIn = 1500 * time.Millisecond

// TestReplicas_EachSweepRunsOnce: two replicas, of which the one that leads is killed around the time that everything is due.
func TestReplicas_EachSweepRunsOnce(t *testing.T) {
	a, ctx := newArena(t), t.Context()
	_, err := a.Pool.Exec(ctx, `
		CREATE TABLE IF NOT EXISTS rig_runs (name text, ended timestamptz DEFAULT clock_timestamp());
		CREATE OR REPLACE FUNCTION rig_run() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
			$$ BEGIN INSERT INTO public.rig_runs (name) VALUES (NEW.name); RETURN NULL; END $$;
		CREATE OR REPLACE TRIGGER rig_run AFTER UPDATE ON schedules FOR EACH ROW WHEN (OLD.last_run IS DISTINCT FROM NEW.last_run) EXECUTE FUNCTION rig_run()`)
	require.NoError(t, err)
	defer func() {
		_, err := a.Pool.Exec(context.WithoutCancel(ctx), "DROP TRIGGER rig_run ON schedules; DROP FUNCTION rig_run; DROP TABLE rig_runs")
		require.NoError(t, err)
	}()
	kills, killRounds := 0, min(rounds(), 20)
	for i := range killRounds {
		awayFromTheMinute()
		_, err := a.Pool.Exec(ctx, "TRUNCATE rig_runs")
		require.NoError(t, err)
		// Far from their own times, so that only ours counts.
		_, err = a.Pool.Exec(ctx, "UPDATE schedules SET next_run = CASE WHEN cron LIKE '@every%s' THEN next_run ELSE clock_timestamp() + $1::interval END, jitter_ms = 0", dueIn.String())
		require.NoError(t, err)
		if i%2 == 1 {
			<-time.After(dueIn/2 + rand.N(dueIn)) //nolint:gosec // a moment by chance
			require.NoError(t, a.killLeader(ctx))
			kills++
		}
		require.NoError(t, rig.Eventually(ctx, rig.SettleTimeout, func(ctx context.Context) error {
			return a.holds(ctx, "SELECT bool_and(next_run > now() + interval '5 seconds' AND running_by IS NULL) FROM schedules WHERE enabled AND cron NOT LIKE '@every%s'")
		}), "round %d", i+1)
		// A new leader also begins with what a start asks for.
		sql := `SELECT bool_and(n = 1 OR n = 2 AND name IN ('domains', 'host', 'reconcile', 'subscriptions')) FROM (SELECT s.name, (SELECT count(*) FROM rig_runs r WHERE r.name = s.name) AS n FROM schedules s
			WHERE s.enabled AND s.cron NOT LIKE '@every%s' AND s.last_run > now() - interval '1 minute') q`
		if err := a.holds(ctx, sql); err != nil {
			require.NoError(t, err, "round %d: %v", i+1, a.runs(ctx))
		}
	}
	var sweeps int
	require.NoError(t, a.Pool.QueryRow(ctx, "SELECT count(*) FROM schedules WHERE enabled AND cron NOT LIKE '@every%s'").Scan(&sweeps))
	fmt.Printf("replicas: %d sweeps fell due %d times, the leader was killed %d times; each ran once\n", sweeps, killRounds, kills)
}

// awayFromTheMinute waits until nothing falls due by itself for a while: all schedules' own times are full minutes.
func awayFromTheMinute() {
	if s := time.Now().Second(); s < 3 || s > 40 {
		<-time.After(time.Until(time.Now().Truncate(time.Minute).Add(63*time.Second)) % time.Minute)
	}
}

// killLeader kills the replica that leads and starts it again.
func (a *arena) killLeader(ctx context.Context) error {
	var port int
	err := a.Pool.QueryRow(ctx, `
		SELECT a.client_port FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended('operations leader', 0) AND l.granted`).Scan(&port)
	if err != nil {
		return fmt.Errorf("find the leader: %w", err)
	}
	owner := a.Platform.ClientOf(port)
	if owner != 0 && a.second.Owns(owner) {
		a.second.Kill()
		a.second, err = a.ServeAt(ctx, a.base)
		return err
	}
	a.serve.Kill()
	return a.restart(ctx)
}

func (a *arena) runs(ctx context.Context) map[string]int {
	found := map[string]int{}
	rows, err := a.Pool.Query(ctx, "SELECT name, count(*) FROM rig_runs GROUP BY 1")
	if err != nil {
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var n int
		if rows.Scan(&name, &n) == nil {
			found[name] = n
		}
	}
	return found
}
