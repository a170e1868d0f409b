package alerts_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

type bundle struct {
	*alerts.Board
	t    *testing.T
	pool *pgxpool.Pool
}

func setup(t *testing.T) *bundle {
	t.Helper()
	pool := pgtest.New(t)
	return &bundle{Board: alerts.New(pool), t: t, pool: pool}
}

func (b *bundle) raise(kind, subject, message string) {
	b.t.Helper()
	require.NoError(b.t, alerts.Raise(b.t.Context(), b.pool, alerts.Alert{Kind: kind, Subject: subject, Message: message}))
}

func (b *bundle) list(f alerts.Filter) []alerts.Record {
	b.t.Helper()
	if f.Limit == 0 {
		f.Limit = 100
	}
	list, err := b.List(b.t.Context(), f)
	require.NoError(b.t, err)
	return list
}

func TestRaise_OneOpenPerKindAndSubject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.raise("operation.held", "tenant/1", "first")
	b.raise("operation.held", "tenant/2", "another")
	b.raise("operation.held", "tenant/1", "again")
	b.raise("host.full", "host", "memory")
	list := b.list(alerts.Filter{Kind: "operation.held"})
	require.Len(t, list, 2)
	require.Equal(t, "tenant/2", list[0].Subject)
	require.Equal(t, alerts.Alert{Kind: "operation.held", Subject: "tenant/1", Message: "again"}, list[1].Alert)
	require.Equal(t, 2, list[1].Count)
	require.False(t, list[1].LastAt.Before(list[1].RaisedAt))
	require.Len(t, b.list(alerts.Filter{}), 3)
	require.Len(t, b.list(alerts.Filter{Before: list[0].ID}), 1)
	require.Len(t, b.list(alerts.Filter{Limit: 2}), 2)
}

func TestResolve(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.raise("operation.held", "tenant/1", "first")
	require.NoError(t, alerts.Resolve(t.Context(), b.pool, "operation.held", "tenant/1"))
	require.NoError(t, alerts.Resolve(t.Context(), b.pool, "operation.held", "tenant/1"), "nothing is open")
	require.Empty(t, b.list(alerts.Filter{}))
	require.Len(t, b.list(alerts.Filter{Resolved: true}), 1)

	b.raise("operation.held", "tenant/1", "once more")
	open := b.list(alerts.Filter{})
	require.Len(t, open, 1)
	require.Equal(t, 1, open[0].Count)
	refused := errors.New("no room in the log")
	err := b.Close(t.Context(), open[0].ID, func(context.Context, postgres.Querier) error { return refused })
	require.ErrorIs(t, err, refused)
	require.Len(t, b.list(alerts.Filter{}), 1, "what isn't on record isn't done")
	require.NoError(t, b.Close(t.Context(), open[0].ID))
	require.NoError(t, b.Close(t.Context(), open[0].ID))
	require.Empty(t, b.list(alerts.Filter{}))
	require.ErrorIs(t, b.Close(t.Context(), open[0].ID+1), alerts.ErrNotFound)
}

func TestRaise_Concurrently(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_ = alerts.Raise(context.WithoutCancel(t.Context()), b.pool, alerts.Alert{Kind: "host.full", Subject: "host"})
		})
	}
	wg.Wait()
	list := b.list(alerts.Filter{})
	require.Len(t, list, 1)
	require.Equal(t, 10, list[0].Count)
}

func TestList_RefusesBadPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, f := range []alerts.Filter{{}, {Limit: 501}, {Limit: -1}, {Limit: 1, Before: -1}} {
		_, err := b.List(t.Context(), f)
		require.ErrorIs(t, err, alerts.ErrPageBounds)
	}
}
