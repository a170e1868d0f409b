package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// neutralising wraps a step: it waits for a sandbox, and what a few repetitions don't cure ends the operation.
func (n *Neutraliser) neutralising(do func(ctx context.Context, t trial) error) func(ctx context.Context, r *ops.Run) error {
	return func(ctx context.Context, r *ops.Run) error {
		b, err := n.of(ctx, r)
		if err != nil {
			return err
		}
		slot, err := n.takeSlot(ctx, b.ID)
		switch {
		case errors.Is(err, errGivenUp):
			return ops.Unwind(err)
		case err != nil:
			return err
		case slot == nil:
			return ops.Snooze(slotWait)
		}
		t, err := n.tenants.ByID(ctx, b.TenantID)
		switch {
		case err != nil:
		case isGoing(t):
			err = ErrTenantGone
		case !b.Good(): // a look has found it damaged meanwhile
			err = ErrNotGood
		default:
			err = do(ctx, trial{r, b, t, *slot})
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		return n.judgeNeutral(ctx, r, b, fmt.Errorf("neutralise backup %s of tenant %s: %w", b.ID, b.TenantID, err))
	}
}

// judgeNeutral says how often what went wrong is tried again. Somebody waits: what has to be mended first isn't waited for.
func (n *Neutraliser) judgeNeutral(ctx context.Context, r *ops.Run, b Backup, err error) error {
	v, weighErr := n.weigh(ctx, r, b, err)
	if weighErr != nil {
		return ops.Outage(errors.Join(err, weighErr))
	}
	if errs.KindOf(err) != errs.Unavailable { // it doesn't end by itself
		v.limit = min(v.limit, tries)
	}
	switch {
	case errors.Is(err, ErrNotGood), errors.Is(err, ErrOtherOdoo), errors.Is(err, ErrNoSpace), errors.Is(err, ErrNotReadBack), errors.Is(err, ErrTooLong):
		v.limit = 0
	case errors.Is(err, ErrNotNeutralised):
		v.limit = neutralTries
	}
	if noteErr := noteNeutral(ctx, n.pool, b.ID, safeText(err)); noteErr != nil {
		return errors.Join(err, noteErr)
	}
	if r.Attempt < v.limit {
		return err
	}
	if v.damaged && r.Step == loadStep { // what was stored of the backup, not what was made of it
		err = errors.Join(err, n.tellDamaged(ctx, n.pool, b.ID, safeText(err)))
	}
	return ops.Unwind(err)
}

// neutralFailed says that it failed before it tidies up, which may take some attempts.
func (n *Neutraliser) neutralFailed(ctx context.Context, r *ops.Run) error {
	err := postgres.InTx(ctx, n.pool, func(tx pgx.Tx) error { return n.neutralHeld(ctx, tx, r, nil) })
	if err != nil {
		return err
	}
	return n.tearDown(ctx, r)
}

// neutralHeld is for one that nobody goes on with for now, too: another backup of the client may be neutralised meanwhile.
func (n *Neutraliser) neutralHeld(ctx context.Context, tx pgx.Tx, r *ops.Run, _ error) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	return setNeutralFailed(ctx, tx, in.BackupID, n.now())
}

// Sweep removes neutral dumps that have expired, and what abandoned attempts stored.
func (n *Neutraliser) Sweep(ctx context.Context) error {
	if err := n.failStuckNeutrals(ctx, n.pool); err != nil {
		return err
	}
	backups, err := oldNeutrals(ctx, n.pool, n.now())
	if err != nil {
		return err
	}
	var failures []error
	for _, b := range backups {
		if err := n.sweepOne(ctx, b); err != nil { // one backup's trouble isn't another's
			failures = append(failures, fmt.Errorf("sweep the neutral dumps of backup %s: %w", b.ID, err))
		}
	}
	return errors.Join(failures...)
}

// sweepOne leaves a backup alone that is worked on just now: what it found before it looked for that, and nobody can ask for after it, is
// nobody's.
func (n *Neutraliser) sweepOne(ctx context.Context, b Backup) error {
	keys, err := n.dumps(ctx, b)
	if err != nil {
		return err
	}
	busy, err := n.ops.Unfinished(ctx, n.pool, b.ID.Subject())
	if err != nil || len(busy) > 0 && busy[0].State != ops.Held {
		return err
	}
	stray, err := n.unwanted(ctx, b, keys)
	if err != nil {
		return err
	}
	if err := n.removeKeys(ctx, stray); err != nil {
		return err
	}
	if len(stray) > 0 {
		n.log.InfoContext(ctx, "removed neutral dumps of a backup", "backup", b.ID, "objects", len(stray))
	}
	return setNeutralsRemoved(ctx, n.pool, b.ID, n.now())
}

// dumps are the keys of a backup's neutral dumps.
func (n *Neutraliser) dumps(ctx context.Context, b Backup) (keys []string, err error) {
	err = n.store.List(ctx, b.KeyPrefix, func(o Object) error {
		if strings.HasSuffix(o.Key, "."+neutralObject) {
			keys = append(keys, o.Key)
		}
		return nil
	})
	return keys, err
}

// unwanted are those of the keys that nobody can ask for any more.
func (n *Neutraliser) unwanted(ctx context.Context, b Backup, keys []string) ([]string, error) {
	wanted, err := wantedNeutrals(ctx, n.pool, b, n.now())
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(keys, func(key string) bool { return wanted[key] }), nil
}

// removeStray also ends uploads that were cut short. Nobody else uploads anything of the backup while the operation goes on.
func (n *Neutraliser) removeStray(ctx context.Context, b Backup) error {
	if _, err := n.store.AbortUploads(ctx, b.KeyPrefix, n.now().Add(time.Hour)); err != nil {
		return err
	}
	keys, err := n.dumps(ctx, b)
	if err != nil {
		return err
	}
	stray, err := n.unwanted(ctx, b, keys)
	if err != nil {
		return err
	}
	return n.removeKeys(ctx, stray)
}

func (n *Neutraliser) removeKeys(ctx context.Context, keys []string) error {
	for _, key := range keys {
		if err := n.store.Remove(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
