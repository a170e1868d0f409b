package ops_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

func ids(list []ops.Operation) []ops.ID {
	out := make([]ops.ID, 0, len(list))
	for _, o := range list {
		out = append(out, o.ID)
	}
	return out
}

func TestList(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(
		ops.Workflow{Kind: "test.work", Steps: []ops.Step{do("first", nil), do("second", nil)}},
		ops.Workflow{Kind: "test.broken", Steps: []ops.Step{do("only", func(context.Context, *ops.Run) error { return ops.Permanent(errBroken) })}},
	)
	held1, held2 := b.enqueue(e, "test.broken", "tenant/1", nil), b.enqueue(e, "test.broken", "tenant/2", nil)
	waiting := b.enqueue(e, "test.unknown", "tenant/3", nil)
	done1, done2 := b.enqueue(e, "test.work", "tenant/4", nil), b.enqueue(e, "test.work", "tenant/5", nil)
	for id, state := range map[ops.ID]ops.State{held1: ops.Held, held2: ops.Held, done1: ops.Done, done2: ops.Done} {
		b.reaches(e, id, state)
	}
	for name, tc := range map[string]struct {
		filter ops.ListFilter
		want   []ops.ID
		total  int
	}{
		"all that is unfinished": {ops.ListFilter{Limit: 10}, []ops.ID{held1, held2, waiting}, 3},
		"held":                   {ops.ListFilter{State: ops.Held, Limit: 10}, []ops.ID{held1, held2}, 2},
		"running":                {ops.ListFilter{State: ops.Running, Limit: 10}, []ops.ID{waiting}, 1},
		"unwinding":              {ops.ListFilter{State: ops.Unwinding, Limit: 10}, []ops.ID{}, 0},
		"done, latest first":     {ops.ListFilter{State: ops.Done, Limit: 10}, []ops.ID{done2, done1}, 2},
		"a page":                 {ops.ListFilter{Skip: 1, Limit: 1}, []ops.ID{held2}, 3},
		"behind the end":         {ops.ListFilter{Skip: math.MaxInt32, Limit: 1000}, []ops.ID{}, 3},
	} {
		list, total, err := e.List(t.Context(), tc.filter)
		require.NoError(t, err, name)
		require.Equal(t, tc.want, ids(list), name)
		require.Equal(t, tc.total, total, name)
	}
	list, _, err := e.List(t.Context(), ops.ListFilter{State: ops.Done, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []any{"second", 1, 2}, []any{list[0].Step, list[0].StepIndex, list[0].StepCount})
}

func TestList_Bounds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.engine(ops.Options{})
	for _, f := range []ops.ListFilter{{}, {Limit: -1}, {Limit: 1001}, {Skip: -1, Limit: 1}, {Skip: math.MaxInt, Limit: 1}} {
		_, _, err := e.List(t.Context(), f)
		require.ErrorIs(t, err, ops.ErrPageBounds, "%+v", f)
	}
	for _, state := range []ops.State{"x", "HELD", "a\x00"} {
		_, _, err := e.List(t.Context(), ops.ListFilter{State: state, Limit: 1})
		require.ErrorIs(t, err, ops.ErrUnknownState, string(state))
	}
}

func TestRetry_DoesNothingWhenItsRecordFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e := b.running(workflow(do("only", func(context.Context, *ops.Run) error { return ops.Permanent(errBroken) })))
	id := b.enqueue(e, "test.work", "tenant/1", nil)
	b.reaches(e, id, ops.Held)
	before := b.events(e, id)
	pgtest.AsOwner(t, b.pool, "CREATE TABLE recorded ()")
	noRecord := errors.New("no record")
	require.ErrorIs(t, e.Retry(t.Context(), id, func(context.Context, postgres.Querier) error { return noRecord }), noRecord)
	require.Equal(t, before, b.events(e, id))
	require.NoError(t, e.Retry(t.Context(), id, func(ctx context.Context, q postgres.Querier) error {
		_, err := q.Exec(ctx, "INSERT INTO recorded DEFAULT VALUES")
		return err
	}))
	var recorded int
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT count(*) FROM recorded").Scan(&recorded))
	require.Equal(t, 1, recorded)
}
