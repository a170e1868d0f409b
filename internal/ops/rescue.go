package ops

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
)

// rescuer finds the work of workers that died. Every started engine has one.
//
// River's rows of jobs that nobody works on any more are discarded, and an operation that should be going on without a live job
// gets a new one. The old row isn't used again, since a worker that lost its lock but still lives may yet tell River how its run
// ended; that must not end its successor's.
type rescuer struct {
	engine   *Engine
	session  *session
	suspects map[strayJob]time.Time // River says that we run them, but we don't; since when
}

// strayJob is one run of a River job: the attempt tells a later run of the same row.
type strayJob struct {
	ID      int64
	Attempt int
}

// strayAge is how long a job may pass for ours without being in our hands; River writes the end of a job some 50 ms after it.
const strayAge = time.Second

func newRescuer(e *Engine, s *session) *rescuer { return &rescuer{engine: e, session: s} }

func (r *rescuer) loop(ctx context.Context) {
	ticker := time.NewTicker(r.engine.opts.RescueInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := r.sweep(ctx); err != nil && ctx.Err() == nil {
			r.engine.log.ErrorContext(ctx, "operations that were left behind can't be looked for", "error", err)
		}
	}
}

// sweep does it all once. Several workers may sweep at the same time.
func (r *rescuer) sweep(ctx context.Context) error {
	if err := r.discardOrphans(ctx); err != nil {
		return err
	}
	if err := r.discardStrays(ctx); err != nil {
		return err
	}
	if err := r.wakeSleepers(ctx); err != nil {
		return err
	}
	return r.replaceJobs(ctx)
}

// discardOrphans discards the running jobs of holders whose lock is free. A lock that is taken for the look is given back with the
// end of the statement; a holder that just wants it back waits until then, and finds that its job is gone.
func (r *rescuer) discardOrphans(ctx context.Context) error {
	rows, err := r.engine.pool.Query(ctx, `
		WITH holders AS MATERIALIZED (
			SELECT DISTINCT attempted_by[cardinality(attempted_by)] AS holder FROM river_job WHERE queue = $1 AND state = 'running'
		), gone AS MATERIALIZED (
			SELECT holder FROM holders
			WHERE holder <> $2 AND pg_try_advisory_xact_lock(hashtextextended('operations/' || holder, 0))
		)
		UPDATE river_job j SET state = 'discarded', finalized_at = now()
		FROM gone
		WHERE j.queue = $1 AND j.state = 'running' AND j.attempted_by[cardinality(j.attempted_by)] = gone.holder
		RETURNING gone.holder`, queue, r.session.holder)
	if err != nil {
		return fmt.Errorf("discard the jobs of dead workers: %w", err)
	}
	holders, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("discard the jobs of dead workers: %w", err)
	}
	for _, holder := range holders {
		r.engine.log.WarnContext(ctx, "a worker died, its operation goes on elsewhere", "holder", holder)
	}
	return nil
}

// discardStrays discards jobs that River's rows say we run, though we don't: their end couldn't be written when the database was
// away. A later sweep must say so too, for a job that was fetched or has ended just now looks the same for a moment.
func (r *rescuer) discardStrays(ctx context.Context) error {
	rows, err := r.engine.pool.Query(ctx, `
		SELECT id, attempt FROM river_job
		WHERE queue = $1 AND state = 'running' AND attempted_by[cardinality(attempted_by)] = $2`, queue, r.session.holder)
	if err != nil {
		return fmt.Errorf("read our own jobs: %w", err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[strayJob])
	if err != nil {
		return fmt.Errorf("read our own jobs: %w", err)
	}
	before := r.suspects
	r.suspects = map[strayJob]time.Time{}
	for _, j := range jobs {
		if r.engine.handling(j.ID) {
			continue
		}
		since, ok := before[j]
		if !ok {
			since = time.Now()
		}
		if time.Since(since) < strayAge {
			r.suspects[j] = since
			continue
		}
		if err := r.discard(ctx, j); err != nil {
			return err
		}
	}
	return nil
}

func (r *rescuer) discard(ctx context.Context, j strayJob) error {
	_, err := r.engine.pool.Exec(ctx, `
		UPDATE river_job SET state = 'discarded', finalized_at = now() WHERE id = $1 AND attempt = $2 AND state = 'running'`, j.ID, j.Attempt)
	if err != nil {
		return fmt.Errorf("discard job %d: %w", j.ID, err)
	}
	r.engine.log.WarnContext(ctx, "a job whose end couldn't be written is put away", "job", j.ID)
	return nil
}

// wakeSleepers makes jobs available whose time has come, and those of operations that are to be cut short but fell asleep just when
// another was queued. River's leader does the same, but after the death of a leader it takes
// about 15 seconds until there is another.
func (r *rescuer) wakeSleepers(ctx context.Context) error {
	_, err := r.engine.pool.Exec(ctx, `
		UPDATE river_job SET state = 'available', scheduled_at = least(scheduled_at, now())
		WHERE queue = $1 AND state IN ('scheduled', 'retryable') AND (scheduled_at <= now() OR (args->>'operation_id')::bigint IN (
			SELECT o.id FROM operations q JOIN operations o ON o.subject = q.subject AND o.finished_at IS NULL AND o.state <> 'queued'
			WHERE q.state = 'queued' AND o.kind = ANY($2)))`, queue, r.engine.preemptibleKinds())
	if err != nil {
		return fmt.Errorf("wake snoozed jobs: %w", err)
	}
	return nil
}

// replaceJobs enqueues unfinished operations that have no live job. There is no other moment at which they have none: enqueueing
// writes both in one transaction, and a job ends after its operation. Of several that insert at once, uniqueness lets one win.
func (r *rescuer) replaceJobs(ctx context.Context) error {
	rows, err := r.engine.pool.Query(ctx, `
		SELECT o.id, o.kind FROM operations o
		WHERE o.finished_at IS NULL AND o.state NOT IN ('held', 'queued') AND NOT EXISTS (
			SELECT FROM river_job j WHERE j.queue = $1 AND j.`+liveJob+` AND (j.args->>'operation_id')::bigint = o.id)`, queue)
	if err != nil {
		return fmt.Errorf("find operations without a job: %w", err)
	}
	jobs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[job])
	if err != nil {
		return fmt.Errorf("find operations without a job: %w", err)
	}
	if len(jobs) == 0 {
		return nil
	}
	inserts := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		inserts[i] = river.InsertManyParams{Args: j}
	}
	if _, err := r.engine.inserter.InsertMany(ctx, inserts); err != nil {
		return fmt.Errorf("enqueue operations again: %w", err)
	}
	r.engine.log.InfoContext(ctx, "operations without a worker were enqueued again", "operations", len(jobs))
	return nil
}
