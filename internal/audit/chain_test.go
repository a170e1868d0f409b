package audit_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/audit"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

const (
	oldKey = secrets.Secret("the first data key of these tests and long enough")
	newKey = secrets.Secret("the second data key of these tests and long enough")
)

type chainBundle struct {
	t     *testing.T
	owner *pgxpool.Pool // a superuser, who may do what nobody should
	log   *audit.Log
	chain *audit.Chain
}

// setupChain gives the chain to the lesser role, as in real life.
func setupChain(t *testing.T) *chainBundle {
	t.Helper()
	owner, lesser := pgtest.NewPair(t)
	b := &chainBundle{t: t, owner: owner, log: audit.New(lesser)}
	b.chain = b.open(lesser, oldKey, 0)
	return b
}

func (b *chainBundle) open(pool *pgxpool.Pool, key secrets.Secret, settle time.Duration) *audit.Chain {
	b.t.Helper()
	sealer, err := secrets.NewSealer(key)
	require.NoError(b.t, err)
	return audit.NewChain(audit.ChainDeps{Pool: pool, Sealer: sealer, Log: slog.New(slog.DiscardHandler)},
		audit.ChainOptions{BatchRows: 4, SettleTime: settle})
}

func (b *chainBundle) record(n int) {
	b.t.Helper()
	for i := range n {
		require.NoError(b.t, b.log.Record(b.t.Context(), audit.Entry{Actor: "ada", Action: "x", Detail: map[string]any{"n": i}}))
	}
}

func (b *chainBundle) seal(want int) {
	b.t.Helper()
	n, err := b.chain.Seal(b.t.Context())
	require.NoError(b.t, err)
	require.Equal(b.t, want, n)
}

func (b *chainBundle) verify(anchors ...audit.Anchor) audit.Report {
	b.t.Helper()
	r, err := b.chain.Verify(b.t.Context(), anchors...)
	require.NoError(b.t, err)
	return r
}

// tamper changes what is append-only, as the owner of the database can.
func (b *chainBundle) tamper(sql string) {
	b.t.Helper()
	err := pgx.BeginFunc(b.t.Context(), b.owner, func(tx pgx.Tx) error {
		_, err := tx.Exec(b.t.Context(), "SET LOCAL session_replication_role = replica;"+sql)
		return err
	})
	require.NoError(b.t, err)
}

func TestChain_SealsInBatchesWhatHasCome(t *testing.T) {
	t.Parallel()
	b := setupChain(t)
	require.Equal(t, audit.Report{}, b.verify(), "nothing is sealed")
	b.seal(0)
	b.record(10)
	b.seal(10)
	b.seal(0)
	b.record(2)

	r := b.verify()
	require.True(t, r.OK(), "%v", r.Problems)
	require.EqualValues(t, 3, r.Batches)
	require.EqualValues(t, 10, r.Rows)
	require.EqualValues(t, 2, r.Unsealed)
	require.NotNil(t, r.UnsealedSince)

	b.seal(2)
	head, err := audit.ParseAnchor(r.Head)
	require.NoError(t, err)
	require.True(t, b.verify(head).OK(), "what was noted is still there")
}

func TestVerify_NamesWhatWasDone(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ sql, want string }{
		"changed actor":   {"UPDATE activity_log SET actor = 'eve' WHERE id = 6", "batch 2: row 6: it was changed"},
		"changed time":    {"UPDATE activity_log SET at = at + interval '1 microsecond' WHERE id = 1", "batch 1: row 1: it was changed"},
		"changed account": {"UPDATE activity_log SET account_id = 7 WHERE id = 2", "batch 1: row 2: it was changed"},
		"changed tenant":  {"UPDATE activity_log SET tenant_id = 7 WHERE id = 2", "batch 1: row 2: it was changed"},
		"changed action":  {"UPDATE activity_log SET action = 'y' WHERE id = 2", "batch 1: row 2: it was changed"},
		"changed address": {"UPDATE activity_log SET ip = '192.0.2.1' WHERE id = 2", "batch 1: row 2: it was changed"},
		"changed detail":  {`UPDATE activity_log SET detail = '{"n": 1.0}' WHERE id = 2`, "batch 1: row 2: it was changed"},
		"deleted row":     {"DELETE FROM activity_log WHERE id = 5", "batch 2: row 5: it was deleted"},
		"deleted last row": {
			"DELETE FROM activity_log WHERE id = 10", "batch 3: row 10: it was deleted",
		},
		"inserted row": {
			"INSERT INTO activity_log (id, actor, action) OVERRIDING SYSTEM VALUE VALUES (-3, 'eve', 'x')", "batch 1: row -3: it was inserted afterwards",
		},
		"reordered rows": {
			"UPDATE activity_log a SET at = b.at, detail = b.detail FROM activity_log b WHERE a.id IN (1, 2) AND b.id = 3 - a.id",
			"batch 1: row 1: it was changed",
		},
		"deleted batch":   {"DELETE FROM audit_batches WHERE id = 2", "batch 3: the batches between 1 and this one are missing"},
		"first batch":     {"DELETE FROM audit_batches WHERE id = 1", "batch 2: the batches between 0 and this one are missing"},
		"changed hash":    {"UPDATE audit_batches SET hash = sha256('x') WHERE id = 2", "batch 2: its hash isn't that of its contents"},
		"changed link":    {"UPDATE audit_batches SET previous_hash = sha256('x') WHERE id = 2", "batch 2: it doesn't follow the batch before it"},
		"changed seal":    {"UPDATE audit_batches SET seal = 'nothing' WHERE id = 3", "batch 3: the newest seal is of a key that isn't in DATA_KEY"},
		"borrowed seal":   {"UPDATE audit_batches SET seal = (SELECT seal FROM audit_batches WHERE id = 2) WHERE id = 3", "batch 3: its seal isn't ours"},
		"changed sealing": {"UPDATE audit_batches SET sealed_at = now() WHERE id = 1", "batch 1: its hash isn't that of its contents"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupChain(t)
			b.record(10)
			b.seal(10)
			b.tamper(tt.sql)
			r := b.verify()
			require.False(t, r.OK())
			var lines []string
			for _, p := range r.Problems {
				lines = append(lines, p.String())
			}
			require.Contains(t, strings.Join(lines, "\n"), tt.want)
		})
	}
}

// A tail that was cut off together with its batch is only seen by whoever noted the head; see the comment of Chain.
func TestVerify_ACutOffTailNeedsAnAnchor(t *testing.T) {
	t.Parallel()
	b := setupChain(t)
	b.record(10)
	b.seal(10)
	head, err := audit.ParseAnchor(b.verify().Head)
	require.NoError(t, err)
	b.tamper("DELETE FROM activity_log WHERE id > 8; DELETE FROM audit_batches WHERE id = 3")
	require.True(t, b.verify().OK())
	r := b.verify(head)
	require.Len(t, r.Problems, 1)
	require.Equal(t, "batch 3: it was noted, but the chain ends before it", r.Problems[0].String())

	b.record(2)
	b.seal(2)
	r = b.verify(head)
	require.Len(t, r.Problems, 1, "another batch took its number")
	require.Equal(t, "batch 3: its hash isn't the one that was noted", r.Problems[0].String())
}

// Whoever owns the database and not the key can compute hashes, but no seals.
func TestVerify_AChainOfSomebodyElse(t *testing.T) {
	t.Parallel()
	b := setupChain(t)
	b.record(3)
	n, err := b.open(b.owner, newKey, 0).Seal(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, n)
	r := b.verify()
	require.Len(t, r.Problems, 1)
	require.Contains(t, r.Problems[0].What, "isn't in DATA_KEY")
}

func TestVerify_OutlivesTheRotationOfKeys(t *testing.T) {
	t.Parallel()
	b := setupChain(t)
	b.record(3)
	b.seal(3)
	b.chain = b.open(b.owner, newKey+","+oldKey, 0)
	require.True(t, b.verify().OK())
	b.record(1)
	b.seal(1)
	b.chain = b.open(b.owner, newKey, 0)
	require.True(t, b.verify().OK(), "the new seal vouches for what the old key sealed")
}

// A row may become visible after others with higher ids.
func TestSeal_WaitsForRowsThatMayStillCome(t *testing.T) {
	t.Parallel()
	b := setupChain(t)
	early, err := b.owner.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = early.Rollback(context.WithoutCancel(t.Context())) }()
	require.NoError(t, b.log.RecordTx(t.Context(), early, audit.Entry{Actor: "ada", Action: "early"}))
	b.record(1)
	_, err = b.open(b.owner, oldKey, time.Millisecond).Seal(t.Context())
	require.ErrorIs(t, err, audit.ErrUnsettled)
	require.NoError(t, early.Commit(t.Context()))
	b.seal(2)
	require.True(t, b.verify().OK())
}

func TestSeal_SeveralAtOnceMakeOneChain(t *testing.T) {
	t.Parallel()
	b := setupChain(t)
	const writers, each = 4, 25
	errs := make(chan error, 2*writers)
	for range writers {
		go func() {
			var err error
			for range each {
				if err == nil {
					err = b.log.Record(t.Context(), audit.Entry{Actor: "ada", Action: "x"})
				}
			}
			errs <- err
		}()
		go func() {
			_, err := b.chain.Seal(t.Context())
			errs <- err
		}()
	}
	for range 2 * writers {
		require.NoError(t, <-errs)
	}
	_, err := b.chain.Seal(t.Context())
	require.NoError(t, err)
	r := b.verify()
	require.True(t, r.OK(), "%v", r.Problems)
	require.EqualValues(t, writers*each, r.Rows)
}

func TestParseAnchor_RefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "7", "7:", "7:abc", "0:" + strings.Repeat("ab", 32), "x:" + strings.Repeat("ab", 32), "7:" + strings.Repeat("zz", 32)} {
		_, err := audit.ParseAnchor(text)
		require.Error(t, err, text)
	}
}
