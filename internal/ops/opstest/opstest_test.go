package opstest_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres/pgtest"
)

// world is an outside world in which a container can be made and started, and the row that says so.
type world struct {
	mu       sync.Mutex
	made     map[string]int // how often, by name
	started  bool
	pool     *pgxpool.Pool
	sloppily bool // makes a new container each time
}

func (w *world) build(t *testing.T) ops.Workflow {
	t.Helper()
	w.made, w.started = map[string]int{}, false
	pgtest.AsOwner(t, w.pool, "DROP TABLE IF EXISTS tenant; CREATE TABLE tenant (activated int)")
	return ops.Workflow{Kind: "test.provision", Steps: []ops.Step{
		{Name: "container", Do: w.make},
		{Name: "start", Do: w.start},
		{Name: "activate", Tx: func(ctx context.Context, tx pgx.Tx, _ *ops.Run) error {
			_, err := tx.Exec(ctx, "INSERT INTO tenant VALUES (1)")
			return err
		}},
	}}
}

func (w *world) make(_ context.Context, r *ops.Run) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := r.Subject
	if w.made[name] == 0 || w.sloppily {
		w.made[name]++
	}
	return r.Set("container", name)
}

func (w *world) start(_ context.Context, r *ops.Run) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var name string
	if found, err := r.Get("container", &name); err != nil || !found {
		return ops.Permanent(err)
	}
	w.started = true
	return nil
}

func (w *world) check(t *testing.T) {
	t.Helper()
	require.Equal(t, map[string]int{"tenant/1": 1}, w.made)
	require.True(t, w.started)
	var activated int
	require.NoError(t, w.pool.QueryRow(t.Context(), "SELECT count(*) FROM tenant").Scan(&activated))
	require.Equal(t, 1, activated)
}

func TestRepeat(t *testing.T) {
	t.Parallel()
	w := &world{pool: pgtest.New(t)}
	opstest.Repeat(t, w.pool, w.build, nil, "tenant/1", w.check)
}

func TestFailEach(t *testing.T) {
	t.Parallel()
	w := &world{pool: pgtest.New(t)}
	opstest.FailEach(t, w.pool, w.build, nil, "tenant/1", w.check)
}

func TestCrashEach(t *testing.T) {
	t.Parallel()
	w := &world{pool: pgtest.New(t)}
	opstest.CrashEach(t, w.pool, w.build, nil, "tenant/1", w.check)
}

func TestRepeat_ShowsAStepThatIsNotIdempotent(t *testing.T) {
	t.Parallel()
	w := &world{pool: pgtest.New(t), sloppily: true}
	opstest.Repeat(t, w.pool, w.build, nil, "tenant/1", func(t *testing.T) {
		t.Helper()
		require.Equal(t, 2, w.made["tenant/1"])
	})
}
