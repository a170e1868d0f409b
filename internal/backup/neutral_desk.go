package backup

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// ErrTooManyNeutral is the answer when no more backups of a client are neutralised today.
var ErrTooManyNeutral = errs.New(errs.RateLimited, "too_many_neutralised",
	"As many backups of this client have been neutralised as are in a day. Those can still be downloaded.")

// NeutralLink is Link to the backup with a neutral dump in the place of its own: nothing in that acts on the world, and it lacks credentials. If
// there is none it returns the operation that makes one, and a repeat the same, until there is.
// Errors: ErrNotFound, ErrNotGood, ErrTenantGone, ErrNeutralRunning, ErrInUse, ErrTooManyNeutral.
func (d *Desk) NeutralLink(ctx context.Context, r Request, id ID) (Link, *ops.Operation, error) {
	b, err := d.Find(ctx, r.By, id)
	if err != nil {
		return Link{}, nil, err
	}
	ready, op, err := d.deps.Backups.askNeutral(ctx, id, r.By.Username, func(ctx context.Context, tx pgx.Tx, b Backup) error {
		if r.By.Admin {
			return nil
		}
		return d.neutralAllowance(ctx, tx, b)
	}, d.record(r, "backup.neutralise", nil))
	if err != nil || op != nil {
		return Link{}, op, err
	}
	link, err := d.newLink(ctx, r, b, ready.id)
	return link, nil, err
}

// neutralAllowance counts the one that was just asked for too, as allowance does. The tenant's row is locked, so no two count at once.
func (d *Desk) neutralAllowance(ctx context.Context, tx pgx.Tx, b Backup) error {
	day := d.deps.Now().Add(-24 * time.Hour)
	var n int
	var oldest *time.Time
	err := tx.QueryRow(ctx, "SELECT count(*), min(created_at) FROM backup_neutral_dumps WHERE tenant_id = $1 AND created_at > $2 AND state <> 'failed'",
		b.TenantID, day).Scan(&n, &oldest)
	switch {
	case err != nil:
		return fmt.Errorf("count neutralised backups: %w", err)
	case n <= d.opts.PerDay:
		return nil
	}
	return ErrTooManyNeutral.WithRetryAfter(oldest.Sub(day))
}

// askNeutral returns a neutral dump of the backup that is ready, or the operation that makes one, which it asks for if nobody has. asked is
// done in the transaction that asks.
// Errors: ErrNotFound, ErrNotGood, ErrTenantGone, ErrNeutralRunning, ErrInUse.
func (s *Service) askNeutral(ctx context.Context, id ID, by string, asked ...also) (ready neutralRow, op *ops.Operation, err error) {
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		b, err := get(ctx, tx, id, "FOR UPDATE")
		switch {
		case err != nil:
			return err
		case b.State == Deleted:
			return ErrNotFound
		case !b.Good():
			return ErrNotGood
		}
		found, err := readyNeutral(ctx, tx, b.ID, s.now())
		if err != nil || found != nil {
			if found != nil {
				ready = *found
			}
			return err
		}
		live, err := s.ops.Unfinished(ctx, tx, b.ID.Subject())
		if err != nil {
			return err
		}
		again := len(live) > 0 && live[0].Kind == NeutraliseKind
		if again && live[0].State != ops.Held {
			op = &live[0]
			return nil
		}
		made, err := s.orderNeutral(ctx, tx, b, by, again)
		if err != nil {
			return err
		}
		op = &made
		return together(ctx, tx, b, asked)
	})
	if err != nil {
		return neutralRow{}, nil, err
	}
	return ready, op, nil
}

func (s *Service) orderNeutral(ctx context.Context, tx pgx.Tx, b Backup, by string, instead bool) (ops.Operation, error) {
	t, err := s.tenants.Lock(ctx, tx, b.TenantID)
	if err != nil {
		return ops.Operation{}, err
	}
	if isGoing(t) {
		return ops.Operation{}, ErrTenantGone
	}
	if err := s.failStuckNeutrals(ctx, tx); err != nil {
		return ops.Operation{}, err
	}
	op, err := s.orderTx(ctx, tx, order{
		kind: NeutraliseKind, subject: b.ID.Subject(), input: input{BackupID: b.ID}, busy: ErrInUse, instead: instead,
	})
	if err != nil {
		return op, err
	}
	return op, insertNeutral(ctx, tx, b, by, op.ID, s.now())
}
