package cleanup_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
	"controlplane/internal/cleanup"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

// victimEnv makes the test binary a worker process that leads, and is to be killed; its value is the database.
const victimEnv = "CLEANUP_TEST_VICTIM"

func TestMain(m *testing.M) {
	if url := os.Getenv(victimEnv); url != "" { //nolint:forbidigo // tests have no config package
		victim(url)
		return
	}
	os.Exit(m.Run())
}

// victim begins a run of "due" and never ends it. It ends with its parent at the latest.
func victim(url string) {
	ctx := context.Background()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	pool, err := postgres.Open(ctx, url, postgres.Options{})
	if err != nil {
		panic(err)
	}
	e, err := ops.New(ops.Deps{Pool: pool, Log: slog.Default()}, ops.Options{})
	if err != nil {
		panic(err)
	}
	s := cleanup.New(cleanup.Deps{Pool: pool, Ops: e, Audit: audit.New(pool), Log: slog.Default()}, cleanup.Options{})
	s.Add(
		cleanup.Sweep{Name: "due", Cron: "0 0 1 1 *", AtStart: true, Run: func(context.Context) (cleanup.Result, error) {
			_, _ = fmt.Fprintln(os.Stdout, "in the midst")
			select {}
		}},
		cleanup.Sweep{Name: "quick", Cron: "0 0 1 1 *", Run: func(ctx context.Context) (cleanup.Result, error) {
			_, err := pool.Exec(ctx, "INSERT INTO runs VALUES ('victim')")
			return cleanup.Result{Done: 1}, err
		}},
	)
	s.Register()
	if err := e.Start(ctx); err != nil {
		panic(err)
	}
	select {}
}

func TestLead_AKilledLeaderLeavesEachRunDoneOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pgtest.AsOwner(t, b.pool, "CREATE TABLE runs (who text)")
	// Both are due, and have been for long.
	b.exec(`INSERT INTO schedules (name, description, cron, default_cron, next_run) SELECT n, '', '0 0 1 1 *', '0 0 1 1 *', '2026-01-01'
		FROM unnest('{due,quick}'::text[]) n`)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(cmd.Environ(), victimEnv+"="+b.pool.Config().ConnString())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, len("in the midst")))
	require.NoError(t, err)
	b.eventually(func() bool { return b.count(`schedules WHERE name = 'quick' AND last_status = 'ok'`) == 1 })

	insert := func(ctx context.Context) (cleanup.Result, error) {
		_, err := b.pool.Exec(ctx, "INSERT INTO runs VALUES ('survivor')")
		return cleanup.Result{Done: 1}, err
	}
	s := b.started(
		cleanup.Sweep{Name: "due", Cron: "0 0 1 1 *", Run: insert}, cleanup.Sweep{Name: "quick", Cron: "0 0 1 1 *", Run: insert},
	)
	require.Never(t, func() bool { return b.count(`runs WHERE who = 'survivor'`) > 0 }, 300*time.Millisecond, 20*time.Millisecond, "the leader lives")
	require.NoError(t, cmd.Process.Kill())
	killed := time.Now()
	require.Error(t, cmd.Wait())
	b.eventually(func() bool { return b.schedule(s, "due").LastStatus == "ok" })
	t.Logf("taken over %s after the kill", time.Since(killed))
	require.Less(t, time.Since(killed), 5*time.Second)
	require.Equal(t, 1, b.count(`runs WHERE who = 'victim'`))
	require.Equal(t, 1, b.count(`runs WHERE who = 'survivor'`), "only what was cut short is repeated")
}
