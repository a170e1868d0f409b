package ops

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
)

// noteDelay is how long lines of the log may wait for a checkpoint to take them along.
const noteDelay = 200 * time.Millisecond

// entry is a line of the log that isn't written yet.
type entry struct {
	at      time.Time // by this process's clock, for the age only: the database tells the time
	step    string
	event   string
	attempt int
	message string
}

// journal does all writing of a worker to one operation and its log, and holds the token that allows it.
type journal struct {
	pool *pgxpool.Pool
	id   ID

	writing sync.Mutex // held during a write, so that lines stay in order; guards token
	token   int64

	mu      sync.Mutex // guards what follows
	pending []entry
	timer   *time.Timer
	closed  bool
}

func newJournal(pool *pgxpool.Pool, id ID) *journal { return &journal{pool: pool, id: id} }

// add leaves an entry for the next write, without causing one.
func (j *journal) add(e entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(j.pending, e)
}

// note leaves an entry and sees to it that it, and all before it, are written soon. When that shows that the operation is no longer
// ours, interrupt is called.
func (j *journal) note(ctx context.Context, e entry, interrupt context.CancelCauseFunc) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.closed {
		return
	}
	j.pending = append(j.pending, e)
	if j.timer == nil {
		later := context.WithoutCancel(ctx)
		j.timer = time.AfterFunc(noteDelay, func() { j.flush(later, interrupt) })
	}
}

// flush writes what is pending. Lines that can't be written wait for the next occasion.
func (j *journal) flush(ctx context.Context, interrupt context.CancelCauseFunc) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	j.writing.Lock()
	defer j.writing.Unlock()
	entries := j.take()
	if len(entries) == 0 {
		return
	}
	columns := columnsOf(entries)
	var ours bool
	err := j.pool.QueryRow(ctx, `
		WITH mine AS (SELECT id FROM operations WHERE id = $1 AND token = $2),
		logged AS (`+insertEntries+`)
		SELECT EXISTS (SELECT FROM mine)`,
		j.id, j.token, columns.ages, columns.steps, columns.events, columns.attempts, columns.messages).Scan(&ours)
	switch {
	case err != nil:
		j.putBack(entries)
	case !ours && interrupt != nil:
		interrupt(errFenced)
	}
}

// insertEntries adds the entries in $3 to $7 to the log of the operation in the CTE "mine", if it has a row.
const insertEntries = `
	INSERT INTO operation_events (operation_id, at, step, event, attempt, message)
	SELECT mine.id, clock_timestamp() - e.age * interval '1 microsecond', e.step, e.event, e.attempt, e.message
	FROM mine, unnest($3::bigint[], $4::text[], $5::text[], $6::int[], $7::text[])
		WITH ORDINALITY AS e (age, step, event, attempt, message, n)
	ORDER BY e.n`

// save writes where the operation stands and the log up to there, in one statement, and takes a fresh token by it. It returns
// errFenced when the token isn't valid any more, or a writeError.
func (j *journal) save(ctx context.Context, db postgres.Querier, next standing, log []entry) error {
	data, err := json.Marshal(next.data)
	if err != nil {
		return &writeError{err: fmt.Errorf("encode the data of operation %d: %w", j.id, err)}
	}
	j.writing.Lock()
	defer j.writing.Unlock()
	pending := j.take()
	columns := columnsOf(slices.Concat(pending, log))
	var ours bool
	err = db.QueryRow(ctx, `
		WITH mine AS (
			UPDATE operations SET
				token = token + 1, state = $8, step = $9, step_index = $10, attempt = $11, paused = $12, data = $13, progress = NULL,
				error = NULLIF($14, ''), error_detail = NULLIF($15, ''), unwinding = unwinding OR $8 = 'unwinding',
				step_started_at = CASE WHEN step <> $9 OR state <> $8 THEN now() ELSE step_started_at END, updated_at = now(),
				finished_at = CASE WHEN $8 IN ('done', 'abandoned') THEN now() END
			WHERE id = $1 AND token = $2 AND finished_at IS NULL
			RETURNING id
		), logged AS (`+insertEntries+`)
		SELECT EXISTS (SELECT FROM mine)`,
		j.id, j.token, columns.ages, columns.steps, columns.events, columns.attempts, columns.messages,
		string(next.state), next.step, next.index, next.attempt, next.paused, data, next.failed, next.detail).Scan(&ours)
	if err != nil {
		j.putBack(pending)
		return &writeError{err: fmt.Errorf("write operation %d: %w", j.id, err)}
	}
	if !ours {
		return errFenced
	}
	j.token++
	return nil
}

// take returns what is pending, and stops the timer that would write it.
func (j *journal) take() []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.timer != nil {
		j.timer.Stop()
		j.timer = nil
	}
	entries := j.pending
	j.pending = nil
	return entries
}

func (j *journal) putBack(entries []entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.pending = append(entries, j.pending...)
}

// close ends the journal. Notes that come after, from goroutines that a step left behind, are dropped.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.take()
}

// columns are entries as PostgreSQL's unnest takes them.
type columns struct {
	ages     []int64 // in microseconds
	steps    []string
	events   []string
	attempts []int
	messages []string
}

func columnsOf(entries []entry) columns {
	var c columns
	for _, e := range entries {
		c.ages = append(c.ages, time.Since(e.at).Microseconds())
		c.steps = append(c.steps, e.step)
		c.events = append(c.events, e.event)
		c.attempts = append(c.attempts, e.attempt)
		c.messages = append(c.messages, e.message)
	}
	return c
}
