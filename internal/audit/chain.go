package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// ErrUnsettled says that a transaction that writes to the log has been open for so long that what comes after it couldn't be sealed.
// The next Seal tries again.
var ErrUnsettled = errors.New("a transaction that writes to the activity log doesn't end")

// sealLock is the advisory lock of whoever seals; any constant of our own will do.
const sealLock = 0x6f646f6f617564

// ChainDeps is what a Chain works with; all but Now are required.
type ChainDeps struct {
	Pool   *pgxpool.Pool
	Sealer *secrets.Sealer
	Log    *slog.Logger
	Now    func() time.Time // nil: time.Now
}

// ChainOptions bound the work. Zero values mean the defaults.
type ChainOptions struct {
	BatchRows  int           // at most so many rows in a batch, default 5,000
	SettleTime time.Duration // how long to wait for transactions that are writing, default 10 s
}

// Chain makes changes of the log evident. Rows are hashed in the order of their ids, in batches, each of which holds the hash of the one
// before. The hash of a batch is sealed with DATA_KEY, so that whoever owns the database, but not the key, can't make another chain.
//
// What it can't show: that the newest batches were cut off together with their rows. For that the head has to be noted elsewhere, which
// is why every new head is logged, and why Verify takes an Anchor.
type Chain struct {
	pool   *pgxpool.Pool
	sealer *secrets.Sealer
	log    *slog.Logger
	now    func() time.Time
	opts   ChainOptions
}

// NewChain returns the chain on a platform database.
func NewChain(deps ChainDeps, opts ChainOptions) *Chain {
	if opts.BatchRows == 0 {
		opts.BatchRows = 5000
	}
	if opts.SettleTime == 0 {
		opts.SettleTime = 10 * time.Second
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Chain{pool: deps.Pool, sealer: deps.Sealer, log: deps.Log, now: deps.Now, opts: opts}
}

// Seal puts the rows that have come since the last time under the chain, and returns how many. Several may call it at once: one works, the
// others return at once. Rows that were written while it looked wait for the next time.
func (c *Chain) Seal(ctx context.Context) (int, error) {
	horizon, err := c.settled(ctx)
	if err != nil {
		return 0, err
	}
	sealed := 0
	for {
		n, err := c.sealBatch(ctx, horizon)
		sealed += n
		if err != nil || n == 0 {
			return sealed, err
		}
	}
}

func (c *Chain) sealBatch(ctx context.Context, horizon int64) (rows int, err error) {
	var b batch
	err = postgres.InTx(ctx, c.pool, func(tx pgx.Tx) error {
		var free bool
		if err := tx.QueryRow(ctx, "SELECT pg_try_advisory_xact_lock($1)", sealLock).Scan(&free); err != nil || !free {
			return err
		}
		last, err := lastBatch(ctx, tx)
		if err != nil {
			return err
		}
		entries, err := digests(ctx, tx, last.LastID, horizon, c.opts.BatchRows)
		if err != nil || len(entries) == 0 {
			return err
		}
		b = last.next(entries, c.now().UTC().Truncate(time.Microsecond))
		rows = len(entries)
		return insertBatch(ctx, tx, b, c.sealer.Seal(secrets.Secret(b.Hash), sealContext(b.ID)))
	})
	if err != nil {
		return 0, fmt.Errorf("seal the activity log: %w", err)
	}
	if rows > 0 {
		c.log.InfoContext(ctx, "the activity log was sealed", "rows", rows, "head", b.head().String())
	}
	return rows, nil
}

// sealContext binds a seal to its batch.
func sealContext(id int64) string { return fmt.Sprintf("audit_batches.seal/%d", id) }

const settlePoll = 20 * time.Millisecond

// settled returns an id below which no row can appear any more. Ids are given out before their rows can be seen, so a row may come
// after one with a higher id. But whoever was given an id holds a lock on the table until its transaction ends, and had it before it got
// the id: once all holders that there were after we saw the highest id are gone, everything up to that id is decided.
func (c *Chain) settled(ctx context.Context) (int64, error) {
	var horizon int64
	if err := c.pool.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM activity_log").Scan(&horizon); err != nil {
		return 0, fmt.Errorf("read the end of the activity log: %w", err)
	}
	writers, err := c.writers(ctx, nil)
	ticker, enough := time.NewTicker(settlePoll), time.NewTimer(c.opts.SettleTime)
	defer ticker.Stop()
	defer enough.Stop()
	for err == nil && len(writers) > 0 {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-enough.C:
			err = ErrUnsettled
		case <-ticker.C:
			writers, err = c.writers(ctx, writers)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("wait for writers of the activity log: %w", err)
	}
	return horizon, nil
}

// writers lists the transactions that have written to the log and are still open; of those in among, if it isn't nil.
func (c *Chain) writers(ctx context.Context, among []string) ([]string, error) {
	rows, err := c.pool.Query(ctx, `
		SELECT DISTINCT virtualtransaction FROM pg_locks
		WHERE locktype = 'relation' AND relation = 'activity_log'::regclass AND mode = 'RowExclusiveLock' AND granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND ($1::text[] IS NULL OR virtualtransaction = ANY($1))`, among)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
