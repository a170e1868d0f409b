package ops_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

var errBroken = errors.New("it broke")

// bundle is what most tests need: a database and a way to make engines on it.
type bundle struct {
	t    *testing.T
	pool *pgxpool.Pool
	deps ops.Deps // of the engines to come, but for what all share
}

func setup(t *testing.T) *bundle {
	t.Helper()
	return &bundle{t: t, pool: pgtest.New(t)}
}

// engine returns an engine that isn't started.
func (b *bundle) engine(opts ops.Options, workflows ...ops.Workflow) *ops.Engine {
	b.t.Helper()
	if opts.RescueInterval == 0 {
		opts.RescueInterval = 100 * time.Millisecond
	}
	if opts.Backoff == nil {
		opts.Backoff = func(int) time.Duration { return time.Millisecond }
	}
	opts.FetchCooldown, opts.FetchPollInterval = 5*time.Millisecond, 20*time.Millisecond
	deps := b.deps
	deps.Pool, deps.Log = b.pool, slog.New(slog.NewTextHandler(testWriter{b.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	e, err := ops.New(deps, opts)
	require.NoError(b.t, err)
	for _, w := range workflows {
		e.Register(w)
	}
	return e
}

// start starts an engine and stops it with the test.
func (b *bundle) start(e *ops.Engine) *ops.Engine {
	b.t.Helper()
	require.NoError(b.t, e.Start(b.t.Context()))
	b.t.Cleanup(func() { b.stop(e) })
	return e
}

func (b *bundle) stop(e *ops.Engine) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(b.t, e.Stop(ctx))
}

func (b *bundle) running(workflows ...ops.Workflow) *ops.Engine {
	b.t.Helper()
	return b.start(b.engine(ops.Options{}, workflows...))
}

func (b *bundle) enqueue(e *ops.Engine, kind, subject string, input any) ops.ID {
	b.t.Helper()
	var op ops.Operation
	require.NoError(b.t, postgres.InTx(b.t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		op, err = e.EnqueueTx(b.t.Context(), tx, kind, subject, input)
		return err
	}))
	return op.ID
}

// reaches waits until the operation is in the state.
func (b *bundle) reaches(e *ops.Engine, id ops.ID, state ops.State) ops.Operation {
	b.t.Helper()
	return b.eventually(e, id, func(op ops.Operation) bool { return op.State == state }, string(state))
}

func (b *bundle) eventually(e *ops.Engine, id ops.ID, ok func(ops.Operation) bool, what string) ops.Operation {
	b.t.Helper()
	var op ops.Operation
	require.Eventually(b.t, func() bool {
		var err error
		op, err = e.Get(b.t.Context(), id)
		return err == nil && ok(op)
	}, 20*time.Second, 5*time.Millisecond, "operation %d: %s", id, what)
	return op
}

// receive waits for the next value, not for ever.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}

// events returns the log as "step:event".
func (b *bundle) events(e *ops.Engine, id ops.ID) []string {
	b.t.Helper()
	list, err := e.Events(b.t.Context(), id)
	require.NoError(b.t, err)
	lines := make([]string, len(list))
	for i, ev := range list {
		lines[i] = ev.Step + ":" + ev.Event
	}
	return lines
}

// trace records what steps did, in order.
type trace struct {
	mu    sync.Mutex
	lines []string
}

func (tr *trace) add(line string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, line)
}

func (tr *trace) all() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return slices.Clone(tr.lines)
}

// step returns a step that only records that it was done and undone.
func (tr *trace) step(name string) ops.Step {
	return ops.Step{
		Name: name,
		Do:   func(context.Context, *ops.Run) error { tr.add("do " + name); return nil },
		Undo: func(context.Context, *ops.Run) error { tr.add("undo " + name); return nil },
	}
}

func do(name string, fn func(ctx context.Context, r *ops.Run) error) ops.Step {
	return ops.Step{Name: name, Do: fn}
}

func workflow(steps ...ops.Step) ops.Workflow { return ops.Workflow{Kind: "test.work", Steps: steps} }

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil { // the engine may log after the test has ended
		w.t.Log(string(p))
	}
	return len(p), nil
}

func TestMain(m *testing.M) {
	if url := os.Getenv(victimEnv); url != "" { //nolint:forbidigo // tests have no config package
		victim(url)
		return
	}
	os.Exit(m.Run())
}

// mains is what connects a pool to its server, and can be switched off.
type mains struct {
	mu    sync.Mutex
	off   bool
	conns []net.Conn
}

func (m *mains) dial(ctx context.Context, network, address string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, syscall.ECONNREFUSED
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		m.conns = append(m.conns, conn)
	}
	return conn, err
}

func (m *mains) turn(off bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = off
	for _, c := range m.conns {
		_ = c.Close()
	}
	m.conns = nil
}
