package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// maxProblems bounds a report: one that is this long says enough.
const maxProblems = 200

// Report is what Verify found.
type Report struct {
	Batches       int64      `json:"batches"`
	Rows          int64      `json:"rows"`               // under the chain
	Unsealed      int64      `json:"unsealed"`           // rows that have come since the last batch: nothing is known of those
	UnsealedSince *time.Time `json:"unsealed_since"`     // the oldest of them
	Head          string     `json:"head"`               // to be noted elsewhere, as an Anchor; "": nothing is sealed yet
	Problems      []Problem  `json:"problems,omitempty"` // at most 200
	More          int        `json:"more,omitempty"`     // problems that aren't listed
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// Problem is one difference between the log and its chain.
type Problem struct {
	Batch int64  `json:"batch"`
	Row   int64  `json:"row,omitempty"` // 0: the batch itself
	What  string `json:"what"`
}

// String is a line for people.
func (p Problem) String() string {
	if p.Row == 0 {
		return fmt.Sprintf("batch %d: %s", p.Batch, p.What)
	}
	return fmt.Sprintf("batch %d: row %d: %s", p.Batch, p.Row, p.What)
}

// Verify computes the whole chain again and compares it with the log as both are at one moment. Anchors are heads that were noted before.
func (c *Chain) Verify(ctx context.Context, anchors ...Anchor) (Report, error) {
	v := verification{chain: c, anchors: anchors}
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err := pgx.BeginTxFunc(ctx, c.pool, snapshot, func(tx pgx.Tx) error {
		if err := v.batches(ctx, tx); err != nil {
			return err
		}
		return v.rest(ctx, tx)
	})
	if err != nil {
		return Report{}, fmt.Errorf("verify the activity log: %w", err)
	}
	return v.report, nil
}

type verification struct {
	chain   *Chain
	anchors []Anchor
	report  Report
	last    batch
	unknown bool // the last batch's seal can't be checked
}

func (v *verification) problem(b, row int64, format string, args ...any) {
	if len(v.report.Problems) == maxProblems {
		v.report.More++
		return
	}
	v.report.Problems = append(v.report.Problems, Problem{Batch: b, Row: row, What: fmt.Sprintf(format, args...)})
}

// batches walks the chain from its beginning, one batch in memory at a time.
func (v *verification) batches(ctx context.Context, tx pgx.Tx) error {
	for {
		rows, err := tx.Query(ctx, "SELECT "+batchColumns+" FROM audit_batches WHERE id > $1 ORDER BY id LIMIT 1", v.last.ID)
		if err != nil {
			return err
		}
		b, err := pgx.CollectExactlyOneRow(rows, scanBatch)
		if postgres.NoRows(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := v.batch(ctx, tx, b); err != nil {
			return err
		}
	}
}

func (v *verification) batch(ctx context.Context, tx pgx.Tx, b batch) error {
	v.link(b)
	v.seal(b)
	after := v.last.LastID
	switch {
	case b.ID == 1:
		after = math.MinInt64
	case b.ID != v.last.ID+1:
		after = b.FirstID - 1 // what belonged to the missing ones can't be judged
	}
	actual, err := digests(ctx, tx, after, b.LastID, 0)
	if err != nil {
		return err
	}
	v.compare(b, b.entries(), actual)
	v.report.Batches++
	v.report.Rows += int64(b.Rows)
	v.report.Head = b.head().String()
	v.last = b
	return nil
}

// link checks that b is what was written, and follows the one before.
func (v *verification) link(b batch) {
	if b.ID != v.last.ID+1 {
		v.problem(b.ID, 0, "the batches between %d and this one are missing", v.last.ID)
	} else if previous := v.last.Hash; b.ID > 1 && !bytes.Equal(b.Previous, previous) {
		v.problem(b.ID, 0, "it doesn't follow the batch before it")
	}
	if !bytes.Equal(b.Hash, b.sum()) {
		v.problem(b.ID, 0, "its hash isn't that of its contents")
	}
	for _, a := range v.anchors {
		if a.Batch == b.ID && a != b.head() {
			v.problem(b.ID, 0, "its hash isn't the one that was noted")
		}
	}
}

// seal checks that we wrote b. Seals of keys that were rotated out can't be checked, but every later seal vouches for the batches before.
func (v *verification) seal(b batch) {
	sum, err := v.chain.sealer.Open(b.Seal, sealContext(b.ID))
	v.unknown = errors.Is(err, secrets.ErrUnknownKey)
	if !v.unknown && (err != nil || !bytes.Equal([]byte(sum.Reveal()), b.Hash)) {
		v.problem(b.ID, 0, "its seal isn't ours")
	}
}

// compare merges what was sealed with what is there, both in the order of their ids.
func (v *verification) compare(b batch, sealed, actual []entry) {
	for len(sealed) > 0 || len(actual) > 0 {
		switch {
		case len(actual) == 0 || len(sealed) > 0 && sealed[0].id < actual[0].id:
			v.problem(b.ID, sealed[0].id, "it was deleted")
			sealed = sealed[1:]
		case len(sealed) == 0 || actual[0].id < sealed[0].id:
			v.problem(b.ID, actual[0].id, "it was inserted afterwards")
			actual = actual[1:]
		default:
			if sealed[0].digest != actual[0].digest {
				v.problem(b.ID, sealed[0].id, "it was changed")
			}
			sealed, actual = sealed[1:], actual[1:]
		}
	}
}

// rest judges the end of the chain, and counts what isn't under it yet.
func (v *verification) rest(ctx context.Context, tx pgx.Tx) error {
	if v.unknown {
		v.problem(v.last.ID, 0, "the newest seal is of a key that isn't in DATA_KEY, so nothing vouches for the chain")
	}
	for _, a := range v.anchors {
		if a.Batch > v.last.ID {
			v.problem(a.Batch, 0, "it was noted, but the chain ends before it")
		}
	}
	return tx.QueryRow(ctx, "SELECT count(*), min(at) FROM activity_log WHERE id > $1", v.last.LastID).
		Scan(&v.report.Unsealed, &v.report.UnsealedSince)
}
