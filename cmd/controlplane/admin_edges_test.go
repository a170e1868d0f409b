package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/audit"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/tenants"
)

func TestAdminEdges(t *testing.T) {
	t.Parallel()
	pool := pgtest.New(t)
	log, closed := audit.New(pool), 0
	run := func(args ...string) (string, error) {
		return execute(t, newAdminEdgesCommand(func(context.Context) (edgeDesk, func(), error) {
			return edgeDesk{pool: pool, audit: log, silentAfter: 10 * time.Minute}, func() { closed++ }, nil
		}), "", args...)
	}
	out, err := run("list")
	require.NoError(t, err)
	require.Equal(t, "ID  FIRST SEEN  AS OF  STATE\n", out)

	const works, lost, gone = "00000000000000aa", "00000000000000bb", "00000000000000cc"
	now := time.Now().UTC()
	for id, age := range map[string]time.Duration{works: time.Minute, lost: time.Hour, gone: 16 * 24 * time.Hour} {
		_, err = pool.Exec(t.Context(), "INSERT INTO edges (id, first_seen, as_of) VALUES ($1, '2026-01-02T03:04:05Z', $2)", id, now.Add(-age))
		require.NoError(t, err)
	}
	out, err = run("list")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	for i, want := range []string{"reporting", "silent", "stopped"} {
		require.Regexp(t, `^`+[]string{works, lost, gone}[i]+`  2026-01-02T03:04:05Z  \S+Z  `+want+`$`, lines[i+1])
	}
	require.Contains(t, lines[2], now.Add(-time.Hour).Format(time.RFC3339))

	waits, err := tenants.KnownToEdges(t.Context(), pool)
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(-70*time.Minute), waits, time.Minute, "freed subnets wait for the one that is silent")
	out, err = run("forget", lost)
	require.NoError(t, err)
	require.Equal(t, "edge "+lost+" forgotten\n", out)
	waits, err = tenants.KnownToEdges(t.Context(), pool)
	require.NoError(t, err)
	require.WithinDuration(t, now.Add(-11*time.Minute), waits, time.Minute)

	for id, want := range map[string]string{works: "still reports", lost: "No edge of that id", "": "No edge of that id", "' OR true --": "No edge of that id"} {
		_, err = run("forget", id)
		require.ErrorContains(t, err, want, id)
	}
	_, err = run("forget")
	require.Error(t, err)
	_, err = run("forgotten")
	require.Error(t, err)
	left, err := tenants.Edges(t.Context(), pool, 10*time.Minute)
	require.NoError(t, err)
	require.Len(t, left, 2)
	entries, err := log.List(t.Context(), audit.Filter{Limit: 10})
	require.NoError(t, err)
	require.Len(t, entries, 1, "what is refused isn't done")
	require.Equal(t, []any{accounts.Operator, "edge.forget", lost}, []any{entries[0].Actor, entries[0].Action, entries[0].Detail["edge"]})
	require.Equal(t, 7, closed)
}
