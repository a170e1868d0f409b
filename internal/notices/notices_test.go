package notices_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/notices"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
)

type bundle struct {
	pool *pgxpool.Pool
	ada  accounts.ID
	bob  accounts.ID
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{pool: pgtest.New(t)}
	for name, id := range map[string]*accounts.ID{"ada": &b.ada, "bob": &b.bob} {
		require.NoError(t, b.pool.QueryRow(t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
			VALUES ($1, $1, $2, $2, 'x') RETURNING id`, name+"@example.test", name).Scan(id))
	}
	return b
}

func (b *bundle) enqueue(t *testing.T, n notices.Notice) bool {
	t.Helper()
	var enqueued bool
	require.NoError(t, postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) (err error) {
		enqueued, err = notices.EnqueueTx(t.Context(), tx, n)
		return err
	}))
	return enqueued
}

func (b *bundle) list(t *testing.T, f notices.Filter) []notices.Notice {
	t.Helper()
	list, err := notices.List(t.Context(), b.pool, f)
	require.NoError(t, err)
	return list
}

func TestEnqueueTx_TellsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	n := notices.Notice{AccountID: b.ada, Kind: "disk.warning", DedupeKey: "disk/1", Data: map[string]any{"percent": 81.0}}
	require.True(t, b.enqueue(t, n))
	require.False(t, b.enqueue(t, n))
	list := b.list(t, notices.Filter{AccountID: b.ada})
	require.Len(t, list, 1)
	require.Equal(t, notices.Kind("disk.warning"), list[0].Kind)
	require.Equal(t, map[string]any{"percent": 81.0}, list[0].Data)
	require.Zero(t, list[0].TenantID)
	require.Nil(t, list[0].SentAt)
	require.False(t, list[0].CreatedAt.IsZero())
}

func TestEnqueueTx_GoesWithItsTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t)
	err := postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := notices.EnqueueTx(t.Context(), tx, notices.Notice{AccountID: b.ada, Kind: "x", DedupeKey: "x"})
		require.NoError(t, err)
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, b.list(t, notices.Filter{}))
}

func TestEnqueueTx_RefusesHalfANotice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	whole := notices.Notice{AccountID: b.ada, Kind: "x", DedupeKey: "x"}
	for name, spoil := range map[string]func(*notices.Notice){
		"no account": func(n *notices.Notice) { n.AccountID = 0 },
		"no kind":    func(n *notices.Notice) { n.Kind = "" },
		"no key":     func(n *notices.Notice) { n.DedupeKey = "" },
		"odd data":   func(n *notices.Notice) { n.Data = map[string]any{"f": func() {}} },
	} {
		t.Run(name, func(t *testing.T) {
			n := whole
			spoil(&n)
			require.Error(t, postgres.InTx(t.Context(), b.pool, func(tx pgx.Tx) error {
				_, err := notices.EnqueueTx(t.Context(), tx, n)
				return err
			}))
		})
	}
}

func TestList_Filters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.enqueue(t, notices.Notice{AccountID: b.ada, Kind: "a", DedupeKey: "1"})
	b.enqueue(t, notices.Notice{AccountID: b.bob, Kind: "a", DedupeKey: "2"})
	b.enqueue(t, notices.Notice{AccountID: b.bob, Kind: "b", DedupeKey: "3"})
	_, err := b.pool.Exec(t.Context(), `UPDATE notices SET sent_at = now() WHERE dedupe_key = '2'`)
	require.NoError(t, err)
	keys := func(f notices.Filter) (out string) {
		for _, n := range b.list(t, f) {
			out += n.DedupeKey
		}
		return out
	}
	require.Equal(t, "321", keys(notices.Filter{}))
	require.Equal(t, "32", keys(notices.Filter{AccountID: b.bob}))
	require.Equal(t, "21", keys(notices.Filter{Kind: "a"}))
	require.Equal(t, "31", keys(notices.Filter{Unsent: true}))
	require.Equal(t, "3", keys(notices.Filter{Limit: 1}))
}
