package prove_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/test/rig"
	"controlplane/test/wire"
)

const (
	reachTimeout = 2 * time.Minute
	hitRetries   = 3
)

// subject is what an operation is done to.
type subject struct {
	tenant

	kind  string   // of the operation
	names []string // that its calls mention
	begin func(ctx context.Context) error
	goal  func(ctx context.Context) error // nil when everything is where it should be

	steady  string                          // a client that must answer while the process is dead
	prelude bool                            // the points are those before there is an operation
	after   func(ctx context.Context) error // instead of goal, after a kill
}

// scenario is a workflow and how it is set going.
type scenario struct {
	name    string
	brief   []point       // of what takes long: all that is struck in the bounded run, without a dry run
	within  time.Duration // when it must be where it should be; 0: rig.SettleTimeout
	prepare func(ctx context.Context, w *world) (subject, error)
	tidy    func(ctx context.Context, w *world, s subject) error
}

// hooked sets the hook of all proxies.
func (w *world) hooked(h wire.Hook) {
	w.Engine.SetHook(h)
	w.Tenants.SetHook(h)
	w.Platform.SetHook(h)
	if w.store != nil {
		w.store.SetHook(h)
	}
}

// dryRun does the operation undisturbed and returns all its points, in their order.
func (w *world) dryRun(ctx context.Context, s subject, within time.Duration) ([]point, error) {
	rec := &recorder{lens: newLens(w, s)}
	w.hooked(rec.hook)
	defer w.hooked(nil)
	if err := s.begin(ctx); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	if err := rig.Eventually(ctx, max(within, quietTimeout), s.goal); err != nil {
		return nil, err
	}
	var first string
	err := w.Pool.QueryRow(ctx, `
		SELECT step FROM operation_events WHERE event = 'started'
		AND operation_id = (SELECT max(id) FROM operations WHERE starts_with(subject, $1) AND kind = $2) ORDER BY id LIMIT 1`, s.Subject, s.kind).Scan(&first)
	return rec.points(first, s.prelude), err
}

// operation is what is done to what.
type operation struct{ kind, subject string }

func (w *world) operation(id int64) operation {
	if known, ok := w.operations.Load(id); ok {
		return known.(operation)
	}
	var o operation
	if w.Pool.QueryRow(context.Background(), "SELECT kind, subject FROM operations WHERE id = $1", id).Scan(&o.kind, &o.subject) == nil {
		w.operations.Store(id, o)
	}
	return o
}

// outcome is what one kill led to.
type outcome struct {
	hit  bool
	took time.Duration // from the restart
}

// strike does the operation, kills the process at the point, starts it again and waits until all is where it should be.
func (w *world) strike(ctx context.Context, s subject, p point, within time.Duration) (outcome, error) {
	dead := make(chan struct{})
	k := &killer{lens: newLens(w, s), point: p, kill: func() { w.serve.Kill(); close(dead) }}
	w.hooked(k.hook)
	defer w.hooked(nil)
	begun := make(chan error, 1)
	go func() { begun <- s.begin(ctx) }() // it fails when the process dies
	if err := w.awaitStrike(ctx, s, dead, begun); err != nil {
		return outcome{}, err
	}
	w.hooked(nil)
	if !k.hit() {
		return outcome{}, nil
	}
	if s.steady != "" {
		if err := w.answers(ctx, s.steady); err != nil {
			return outcome{hit: true}, fmt.Errorf("while the process is dead: %w", err)
		}
	}
	if err := w.restart(ctx); err != nil {
		return outcome{hit: true}, err
	}
	start, goal := time.Now(), s.goal
	if s.after != nil {
		goal = s.after
	}
	err := rig.Eventually(ctx, cmp.Or(within, rig.SettleTimeout), goal)
	return outcome{hit: true, took: time.Since(start)}, err
}

// awaitStrike returns when the process is dead, or the operation went by without coming past the point.
func (w *world) awaitStrike(ctx context.Context, s subject, dead <-chan struct{}, begun <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-dead:
			return nil
		case err := <-begun:
			if err != nil && !isClosed(dead, time.Second) {
				return fmt.Errorf("it can't be asked for: %w", err)
			}
		case <-ctx.Done():
			return fmt.Errorf("neither killed nor done: %w", s.goal(context.WithoutCancel(ctx)))
		case <-tick.C:
			if s.goal(ctx) == nil {
				isClosed(dead, 200*time.Millisecond) // it may just have begun to die
				return nil
			}
		}
	}
}

// isClosed waits for it a little.
func isClosed(c <-chan struct{}, within time.Duration) bool {
	select {
	case <-c:
		return true
	case <-time.After(within):
		return false
	}
}

func TestKill(t *testing.T) {
	for _, sc := range scenarios() {
		t.Run(sc.name, func(t *testing.T) { killAll(t, sc) })
	}
}

func killAll(t *testing.T, sc scenario) {
	ctx := t.Context()
	points, picked := sc.brief, sc.brief
	if all || sc.brief == nil {
		points = sc.rehearse(t)
		picked = chosen(points, sc.brief != nil)
	}
	report := newReport(sc.name, points)
	for _, p := range picked {
		s, err := sc.prepare(ctx, shared)
		require.NoError(t, err, "prepare for %+v", p)
		o, err := shared.strike(ctx, s, p, sc.within)
		for range hitRetries {
			if err == nil && !o.hit { // the calls of two runs needn't be the same: one may find a spare database, and the other not
				require.NoError(t, sc.tidy(ctx, shared, s))
				s, err = sc.prepare(ctx, shared)
				require.NoError(t, err, "prepare for %+v", p)
				o, err = shared.strike(ctx, s, p, sc.within)
			}
		}
		report.add(p, o, err)
		if err != nil {
			t.Errorf("%s, killed %s %q (%d) in step %s: %v", sc.name, p.Phase, p.Server+" "+p.Call, p.Nth, p.Step, err)
			if shared.serve.Ended() {
				require.NoError(t, shared.restart(ctx))
			}
		} else if !o.hit && slices.Contains(sc.brief, p) {
			t.Errorf("%s never comes past %+v, which it did once", sc.name, p)
		}
		if err := errors.Join(shared.orphans(ctx), sc.tidy(ctx, shared, s)); err != nil {
			t.Errorf("%s, after %+v: %v", sc.name, p, err)
		}
	}
	report.write(t)
}

// rehearse returns all points that a dry run comes past.
func (sc scenario) rehearse(t *testing.T) []point {
	t.Helper()
	ctx := t.Context()
	s, err := sc.prepare(ctx, shared)
	require.NoError(t, err, "prepare")
	points, err := shared.dryRun(ctx, s, sc.within)
	require.NoError(t, err, "a dry run")
	require.NotEmpty(t, points)
	require.NoError(t, sc.tidy(ctx, shared, s))
	return points
}
