package ops_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// victimEnv makes the test binary a worker process that is to be killed; its value is the database.
const victimEnv = "OPS_TEST_VICTIM"

// victim works on "test.work" and never gets through its second step. It ends with its parent at the latest.
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
	e.Register(workflow(
		do("first", func(context.Context, *ops.Run) error { return nil }),
		do("second", func(context.Context, *ops.Run) error {
			_, _ = fmt.Fprintln(os.Stdout, "in the second step")
			select {}
		}),
	))
	if err := e.Start(ctx); err != nil {
		panic(err)
	}
	select {}
}

func TestEngine_GoesOnAfterAKilledProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var firsts atomic.Int32
	survivor := b.engine(ops.Options{RescueInterval: 5 * time.Second}, workflow(
		do("first", func(context.Context, *ops.Run) error { firsts.Add(1); return nil }),
		do("second", func(context.Context, *ops.Run) error { return nil }),
	))
	id := b.enqueue(survivor, "test.work", "tenant/1", nil)

	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(cmd.Environ(), victimEnv+"="+b.pool.Config().ConnString())
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	said := make(chan string, 1)
	go func() {
		line := make([]byte, 18)
		_, _ = io.ReadFull(out, line)
		said <- string(line)
	}()
	require.Equal(t, "in the second step", receive(t, said))

	b.start(survivor) // lives beside the victim first, and must not take its work
	require.NoError(t, cmd.Process.Kill())
	killed := time.Now()
	require.Error(t, cmd.Wait())

	op := b.reaches(survivor, id, ops.Done)
	t.Logf("went on %s after the kill", time.Since(killed))
	require.Less(t, time.Since(killed), 8*time.Second)
	require.Zero(t, firsts.Load(), "the first step had its checkpoint")
	require.Equal(t, 2, op.Attempt, "a crash counts as an attempt, so that a step that kills its worker is held in the end")
}

func TestEngine_StartTakesOverAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	next := b.engine(ops.Options{RescueInterval: time.Hour}, workflow(do("first", func(context.Context, *ops.Run) error { return nil })))
	id := b.enqueue(next, "test.work", "tenant/1", nil)
	// A holder that is long gone has it.
	_, err := b.pool.Exec(t.Context(), `UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now(), attempted_by = '{gone}'`)
	require.NoError(t, err)

	b.start(next)
	b.reaches(next, id, ops.Done)
}

func TestEngine_HoldsAStepThatKillsItsWorkers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	w := workflow(do("deadly", func(context.Context, *ops.Run) error { panic("must not be called again") }))
	w.MaxAttempts = 3
	e := b.engine(ops.Options{}, w)
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	_, err := b.pool.Exec(t.Context(), "UPDATE operations SET attempt = 3")
	require.NoError(t, err)

	b.start(e)
	op := b.reaches(e, id, ops.Held)
	require.Contains(t, op.ErrorDetail, "died")
}

func TestEngine_ReplacesALostJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(workflow(do("first", func(context.Context, *ops.Run) error { return nil })))
	var id ops.ID
	require.NoError(t, b.pool.QueryRow(t.Context(),
		"INSERT INTO operations (kind, subject, state) VALUES ('test.work', 'tenant/1', 'running') RETURNING id").Scan(&id))
	b.reaches(e, id, ops.Done)
}

// blocker is a workflow whose step waits until it is released or its context ends.
type blocker struct {
	entered  chan string
	release  chan struct{}
	calls    atomic.Int32
	parallel atomic.Int32
	most     atomic.Int32
}

func newBlocker() *blocker {
	return &blocker{entered: make(chan string, 100), release: make(chan struct{})}
}

func (bl *blocker) do(ctx context.Context, _ *ops.Run) error {
	bl.calls.Add(1)
	bl.most.Store(max(bl.most.Load(), bl.parallel.Add(1)))
	defer bl.parallel.Add(-1)
	bl.entered <- "in"
	select {
	case <-bl.release:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestEngine_LosesItsLockAndGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	e := b.running(workflow(do("first", bl.do)))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	receive(t, bl.entered)

	b.terminate("application_name LIKE '% lease'")
	receive(t, bl.entered) // the step was interrupted, and begun again once the lock was back
	close(bl.release)
	op := b.reaches(e, id, ops.Done)
	require.Equal(t, 1, op.Attempt, "an interruption isn't an attempt")
	require.Equal(t, int32(2), bl.calls.Load())
	require.Equal(t, int32(1), bl.most.Load())
}

func TestEngine_SurvivesARestartOfTheDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bl := newBlocker()
	e := b.start(b.engine(ops.Options{Workers: 4}, workflow(do("first", bl.do), do("second", func(context.Context, *ops.Run) error { return nil }))))
	var ids []ops.ID
	for i := range 6 {
		ids = append(ids, b.enqueue(e, "test.work", fmt.Sprintf("tenant/%d", i), nil))
	}
	for range 4 {
		receive(t, bl.entered)
	}
	b.terminate("true")
	close(bl.release)
	for _, id := range ids {
		b.reaches(e, id, ops.Done)
	}
}

// River gives up writing the end of a job after seven seconds; an outage longer than that leaves rows which nobody works on.
func TestEngine_SurvivesALongOutage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var power mains
	cfg := b.pool.Config()
	cfg.ConnConfig.DialFunc = power.dial
	var err error
	b.pool, err = pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(b.pool.Close)
	bl := newBlocker()
	e := b.running(workflow(do("first", bl.do), do("second", func(context.Context, *ops.Run) error { return nil })))
	var ids []ops.ID
	for i := range 3 {
		ids = append(ids, b.enqueue(e, "test.work", fmt.Sprintf("tenant/%d", i), nil))
		receive(t, bl.entered)
	}

	power.turn(true)
	close(bl.release)
	<-time.After(12 * time.Second)
	power.turn(false)
	for _, id := range ids {
		b.reaches(e, id, ops.Done)
	}
}

// terminate breaks connections to the test's database, as a restart of the server would.
func (b *bundle) terminate(which string) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND `+which)
	require.NoError(b.t, err)
}

func TestEngine_PutsAwayStrayJobs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.engine(ops.Options{}, workflow(do("first", func(context.Context, *ops.Run) error { return nil })))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	// As if the engine had fetched the job and then couldn't write how it ended.
	hide := "UPDATE river_job SET state = 'scheduled', scheduled_at = now() + interval '1 hour'"
	_, err := b.pool.Exec(t.Context(), hide)
	require.NoError(t, err)
	b.start(e)
	require.Eventually(t, func() bool { // the engine is the leader in a moment, and that tells its name
		tag, err := b.pool.Exec(t.Context(), `UPDATE river_job SET state = 'running', attempt = 1, attempted_at = now(),
			attempted_by = ARRAY[leader_id] FROM river_leader`)
		return err == nil && tag.RowsAffected() == 1
	}, 10*time.Second, 5*time.Millisecond)
	b.reaches(e, id, ops.Done)
}
