package cleanup_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestEdges(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s, _ := b.service()
	const after = 10 * time.Minute
	const works, silent, gone = "00000000000000aa", "00000000000000bb", "00000000000000cc"
	note := func(id string, age time.Duration) {
		require.NoError(t, tenants.NoteEdge(t.Context(), b.pool, id, time.Now().Add(-age)))
	}
	sweep := func() string {
		result, err := s.Edges(after).Run(t.Context())
		require.NoError(t, err)
		return result.Note
	}
	open := func() int { return b.count("alerts WHERE kind = 'edge.silent' AND resolved_at IS NULL") }

	require.Empty(t, sweep(), "nobody misses an edge that there never was")
	note(works, 5*time.Minute)
	note(silent, 11*time.Minute)
	note(gone, 24*time.Hour)
	for range 3 {
		require.Equal(t, "2 silent", sweep())
	}
	require.Equal(t, 2, open())
	require.Equal(t, 1, b.count("alerts WHERE subject = 'edge/"+silent+"' AND count = 1 AND message LIKE '%controlplane admin edges forget "+silent+"'"), "told once")

	note(silent, 0)
	require.Equal(t, "1 silent", sweep())
	require.Equal(t, 1, b.count("alerts WHERE subject = 'edge/"+silent+"' AND resolved_at IS NOT NULL"), "it is back")
	b.inTx(func(tx pgx.Tx) error {
		_, err := tenants.ForgetEdge(t.Context(), tx, gone, after)
		return err
	})
	require.Empty(t, sweep())
	require.Zero(t, open(), "it is forgotten")

	note(silent, time.Hour)
	sweep()
	require.Equal(t, 2, b.count("alerts WHERE subject = 'edge/"+silent+"'"), "another time is another alert")
	require.Equal(t, 1, open())
}
