package feed_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/feed"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/tenants"
)

type bundle struct {
	t    *testing.T
	pool *pgxpool.Pool
	feed *feed.Feed
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{t: t, pool: pgtest.New(t)}
	var err error
	b.feed, err = feed.New(feed.Deps{Pool: b.pool, Log: slog.New(slog.DiscardHandler)}, feed.Options{Resync: 50 * time.Millisecond})
	require.NoError(t, err)
	return b
}

// run listens until the test ends.
func (b *bundle) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); b.feed.Run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-done })
}

func (b *bundle) account(name string) (id accounts.ID) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		VALUES ($1, $1, $1, $1, 'x') RETURNING id`, name).Scan(&id))
	return id
}

func (b *bundle) tenant(owner accounts.ID, name string) (id tenants.ID) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline)
		VALUES ($1, $2, 'odoo_' || $2, $2 || '.localhost', 'a@example.com', 'basic', 'pending', now()) RETURNING id`, owner, name).Scan(&id))
	return id
}

type execer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// move writes a tenant event and returns its id on the feed.
func (b *bundle) move(q execer, id tenants.ID, reason string) (event string) {
	b.t.Helper()
	require.NoError(b.t, q.QueryRow(b.t.Context(), `INSERT INTO tenant_events (tenant_id, from_state, to_state, reason)
		VALUES ($1, 'pending', 'provisioning', $2) RETURNING 't' || id`, id, reason).Scan(&event))
	return event
}

func (b *bundle) operation(id tenants.ID) (operation int64) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO operations (kind, subject, state, step) VALUES ('tenant.provision', $1, 'running', 'a')
		RETURNING id`, id.Subject()).Scan(&operation))
	return operation
}

func (b *bundle) step(operation int64, step string) (event string) {
	b.t.Helper()
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `INSERT INTO operation_events (operation_id, step, event, attempt, message)
		VALUES ($1, $2, 'started', 1, 'hello') RETURNING 'o' || id`, operation, step).Scan(&event))
	return event
}

func (b *bundle) read(scope feed.Scope, after feed.Cursor) (ids []string, next feed.Cursor) {
	b.t.Helper()
	batch, err := b.feed.Read(b.t.Context(), scope, after)
	require.NoError(b.t, err)
	require.False(b.t, batch.Lost)
	for _, e := range batch.Events {
		ids = append(ids, e.ID)
	}
	return ids, batch.Next
}

func TestRead_ScopesAndContents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob := b.account("ada"), b.account("bob")
	one, two, foreign := b.tenant(ada, "one"), b.tenant(ada, "two"), b.tenant(bob, "foreign")
	ids, start := b.read(feed.Scope{}, "")
	require.Empty(t, ids, "a new follower begins now")
	first, second, third := b.move(b.pool, one, "paid"), b.move(b.pool, two, "paid"), b.move(b.pool, foreign, "paid")
	step := b.step(b.operation(one), "network")

	for name, c := range map[string]struct {
		scope feed.Scope
		want  []string
	}{
		"one tenant":           {feed.Scope{Tenant: one}, []string{first, step}},
		"an account":           {feed.Scope{Account: ada}, []string{first, second, step}},
		"a tenant, not more":   {feed.Scope{Tenant: two, Account: ada}, []string{second}},
		"another account":      {feed.Scope{Account: bob}, []string{third}},
		"everything":           {feed.Scope{}, []string{first, second, third, step}},
		"an account with none": {feed.Scope{Account: 999}, nil},
	} {
		got, next := b.read(c.scope, start)
		require.Equal(t, c.want, got, name)
		got, _ = b.read(c.scope, next)
		require.Empty(t, got, name)
	}
	batch, err := b.feed.Read(t.Context(), feed.Scope{Tenant: one}, start)
	require.NoError(t, err)
	move, line := batch.Events[0], batch.Events[1]
	require.Equal(t, []any{feed.StateChange, one, "one", tenants.Pending, tenants.Provisioning, "paid"},
		[]any{move.Kind, move.TenantID, move.Tenant, move.From, move.To, move.Reason})
	require.Equal(t, []any{feed.OperationStep, "tenant.provision", "network", "started", 1, "hello"},
		[]any{line.Kind, line.OperationKind, line.Step, line.Event, line.Attempt, line.Message})
	require.WithinDuration(t, time.Now(), line.At, time.Minute)
}

// What was numbered early and is committed late is neither missed nor read twice, in whichever order the commits come.
func TestRead_LateCommits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.tenant(b.account("ada"), "one")
	scope := feed.Scope{Tenant: id}
	_, cursor := b.read(scope, "")
	late, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	lateID := b.move(late, id, "late")
	never, err := b.pool.Begin(t.Context())
	require.NoError(t, err)
	b.move(never, id, "never")
	early := b.move(b.pool, id, "early")

	ids, cursor := b.read(scope, cursor)
	require.Equal(t, []string{early}, ids)
	require.NoError(t, late.Commit(t.Context()))
	require.NoError(t, never.Rollback(t.Context()))
	ids, cursor = b.read(scope, cursor)
	require.Equal(t, []string{lateID}, ids)
	ids, _ = b.read(scope, cursor)
	require.Empty(t, ids)
}

func TestRead_ManyWritersAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.tenant(b.account("ada"), "one")
	_, cursor := b.read(feed.Scope{Tenant: id}, "")
	const writers, each = 4, 40
	done := make(chan error, writers)
	for w := range writers {
		go func() {
			for i := range each {
				_, err := b.pool.Exec(t.Context(), `INSERT INTO tenant_events (tenant_id, to_state, reason) VALUES ($1, 'active', $2)`, id, fmt.Sprintf("%d/%d", w, i))
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	seen := map[string]int{}
	take := func() {
		batch, err := b.feed.Read(t.Context(), feed.Scope{Tenant: id}, cursor)
		require.NoError(t, err)
		for _, e := range batch.Events {
			seen[e.Reason]++
		}
		cursor = batch.Next
	}
	for finished := 0; finished < writers; {
		select {
		case err := <-done:
			require.NoError(t, err)
			finished++
		default:
			take()
		}
	}
	take()
	require.Len(t, seen, writers*each)
	for reason, n := range seen {
		require.Equal(t, 1, n, reason)
	}
}

func TestRead_WhatCantBeFollowedIsLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.tenant(b.account("ada"), "one")
	_, start := b.read(feed.Scope{Tenant: id}, "")
	b.move(b.pool, id, "x")
	for _, cursor := range []string{
		"x", "1", "1:2", "1:2:3:4", "0:5:", "5:4:", "-1:4:", "1:4:0", "1:4:4", "1:9:3,2", "1:9:2,2", "1:9:2,", "1:9:,", "1: 2:", "1:2:\x00",
		"99999999999999999999:99999999999999999999:", "999999999999:999999999999:", "1:9:" + strings.Repeat("2,", 5000), "t17",
	} {
		batch, err := b.feed.Read(t.Context(), feed.Scope{Tenant: id}, feed.Cursor(cursor))
		require.NoError(t, err, "%q", cursor)
		require.True(t, batch.Lost, "%q", cursor)
		require.Empty(t, batch.Events)
		ids, _ := b.read(feed.Scope{Tenant: id}, batch.Next)
		require.Empty(t, ids, "it goes on from now")
	}
	_, err := b.pool.Exec(t.Context(), `INSERT INTO tenant_events (tenant_id, to_state) SELECT $1, 'active' FROM generate_series(1, $2)`, id, feed.MaxBatch+1)
	require.NoError(t, err)
	batch, err := b.feed.Read(t.Context(), feed.Scope{Tenant: id}, start)
	require.NoError(t, err)
	require.True(t, batch.Lost, "too much has happened")
	require.Empty(t, batch.Events)
}

// A dump that is restored elsewhere brings the numbers of another server's transactions.
func TestRead_RowsOfARestoredDump(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.tenant(b.account("ada"), "one")
	_, cursor := b.read(feed.Scope{Tenant: id}, "")
	_, err := b.pool.Exec(t.Context(), `INSERT INTO tenant_events (tenant_id, to_state, xid) VALUES ($1, 'active', '99999999999'), ($1, 'active', '3')`, id)
	require.NoError(t, err)
	fresh := b.move(b.pool, id, "fresh")
	ids, _ := b.read(feed.Scope{Tenant: id}, cursor)
	require.Equal(t, []string{fresh}, ids)
}

func receive[T any](t *testing.T, c <-chan T, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "nothing came", what)
	}
}

func TestRun_WakesThoseWhomItConcerns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob := b.account("ada"), b.account("bob")
	one, foreign := b.tenant(ada, "one"), b.tenant(bob, "foreign")
	b.run()
	tenant, account, all := b.feed.Follow(feed.Scope{Tenant: one}, ""), b.feed.Follow(feed.Scope{Account: ada}, ""), b.feed.Follow(feed.Scope{}, "")
	other := b.feed.Follow(feed.Scope{Tenant: foreign}, "")
	for _, f := range []*feed.Follower{tenant, account, all, other} {
		defer f.Close()
		receive(t, f.Wake(), "the first wake-up, when it listens")
	}
	b.step(b.operation(one), "network")
	for _, f := range []*feed.Follower{tenant, account, all} {
		receive(t, f.Wake(), "a step")
	}
	b.move(b.pool, one, "paid")
	for _, f := range []*feed.Follower{tenant, account, all} {
		receive(t, f.Wake(), "a move")
	}
	require.Empty(t, other.Wake())
	b.move(b.pool, foreign, "paid")
	receive(t, other.Wake(), "its own move")
	tenant.Close()
}

func TestRun_ComesBackAfterABreak(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.tenant(b.account("ada"), "one")
	b.run()
	f := b.feed.Follow(feed.Scope{Tenant: id}, "")
	defer f.Close()
	receive(t, f.Wake(), "the first wake-up")
	_, err := b.pool.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ~* '^(LISTEN event_feed|-- ping)'`)
	require.NoError(t, err)
	receive(t, f.Wake(), "a wake-up for what was missed")
	b.move(b.pool, id, "paid")
	receive(t, f.Wake(), "a move")
}

func TestRun_EndsFollowersWithTheirSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada := b.account("ada")
	var sessions [2]string
	for i := range sessions {
		require.NoError(t, b.pool.QueryRow(t.Context(), `INSERT INTO sessions (account_id, expires_at) VALUES ($1, now() + interval '1 day') RETURNING id::text`, ada).Scan(&sessions[i]))
	}
	b.run()
	mine, other := b.feed.Follow(feed.Scope{Account: ada}, sessions[0]), b.feed.Follow(feed.Scope{Account: ada}, sessions[1])
	receive(t, other.Wake(), "the first wake-up")
	_, err := b.pool.Exec(t.Context(), `UPDATE sessions SET revoked_at = now() WHERE id = $1::uuid`, sessions[0])
	require.NoError(t, err)
	receive(t, mine.Ended(), "the end of the session")
	select {
	case <-other.Ended():
		require.FailNow(t, "another session ended")
	default:
	}
}

// A reading costs the same however much history there is.
func TestRead_StaysOnAnIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.tenant(b.account("ada"), "one")
	op := b.operation(id)
	_, err := b.pool.Exec(t.Context(), `INSERT INTO tenant_events (tenant_id, to_state) SELECT $1, 'active' FROM generate_series(1, 50000)`, id)
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), `INSERT INTO operation_events (operation_id, step, event, attempt) SELECT $1, 'a', 'started', 1 FROM generate_series(1, 50000)`, op)
	require.NoError(t, err)
	_, err = b.pool.Exec(t.Context(), `ANALYZE`)
	require.NoError(t, err)
	_, cursor := b.read(feed.Scope{Tenant: id}, "")
	b.move(b.pool, id, "fresh")
	ids, _ := b.read(feed.Scope{Tenant: id}, cursor)
	require.Len(t, ids, 1)
	rows, err := b.pool.Query(t.Context(), "EXPLAIN ANALYZE "+feed.ReadSQL, string(cursor), cursor.First(), id, 0, 50_000, feed.MaxBatch+1)
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	plan := strings.Join(lines, "\n")
	t.Log(plan)
	for _, table := range []string{"tenant_events", "operation_events"} {
		require.Contains(t, plan, table+"_xid")
		require.NotContains(t, plan, "Seq Scan on "+table)
	}
}
