package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// The names of the steps between which a client's database and files may not belong together, or nothing runs on them.
const (
	swapStep  = "swap"
	startStep = "start"
)

// ErrHalfWay refuses to leave a client with a database of one time and files of another.
var ErrHalfWay = errs.New(errs.Conflict, "restore_half_way",
	"This restore is putting what was restored in the place of what there was, and can't be left half-way: retry it, which ends or undoes it, "+
		"or restore a backup into the client, which begins with undoing it.")

// MayAbandon returns ErrHalfWay for an operation that must not be left as it is. It is to be asked in the transaction that abandons it.
func MayAbandon(ctx context.Context, q postgres.Querier, id ops.ID) error {
	var kind, step string
	if err := q.QueryRow(ctx, "SELECT kind, step FROM operations WHERE id = $1", id).Scan(&kind, &step); err != nil {
		return fmt.Errorf("look how far operation %d is: %w", id, err)
	}
	if kind == RestoreKind && (step == swapStep || step == startStep) {
		return ErrHalfWay
	}
	return nil
}

// settledKey is under which a restore keeps that it has looked for one before it.
const settledKey = "settled"

// settle undoes what a restore before this one left half-way, in whose place this one is, and returns the tenant as it is then. Nothing has
// gone on since: the client was closed. What had been swapped as a whole, and wasn't being undone, stays.
func (w *Worker) settle(ctx context.Context, r restore) (tenants.Tenant, error) {
	var done bool
	if _, err := r.Get(settledKey, &done); err != nil || done {
		return r.tenant, err
	}
	t := r.tenant
	earlier, found, err := w.halfWay(ctx, r)
	if err == nil && found && t.State != tenants.Active {
		r.Note(ctx, fmt.Sprintf("Operation %d was left half-way; it is undone first", earlier.ID))
		t, err = w.putBack(ctx, earlier, t)
	}
	if err != nil {
		return t, err
	}
	return t, r.Set(settledKey, true)
}

// halfWay returns the restore that this one took the place of, with what it had noted, if it ended between its swap's beginning and its
// checkpoint, or while it was undone.
func (w *Worker) halfWay(ctx context.Context, r restore) (*ops.Run, bool, error) {
	earlier := &ops.Run{Subject: r.Subject}
	var noted map[string]json.RawMessage
	err := w.pool.QueryRow(ctx, `
		SELECT o.id, o.data FROM operations o
		WHERE o.subject = $1 AND o.id < $2 AND o.kind = $3 AND o.state = 'abandoned' AND o.error_detail LIKE 'abandoned: %' AND o.data ? 'swap_at'
			AND (NOT o.data ? $4 OR EXISTS (SELECT FROM operation_events e WHERE e.operation_id = o.id AND e.event = 'unwinding'))
			AND NOT EXISTS (SELECT FROM operations p WHERE p.subject = $1 AND p.id > o.id AND p.id < $2
				AND (p.kind <> $3 OR p.data ?| ARRAY['swap_at', $5]))
		ORDER BY o.id DESC LIMIT 1`, r.Subject, r.ID, RestoreKind, volumeKey, settledKey).Scan(&earlier.ID, &noted)
	if postgres.NoRows(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("look for a restore of %s that was left half-way: %w", r.Subject, err)
	}
	for key, value := range noted {
		err = errors.Join(err, earlier.Set(key, value))
	}
	return earlier, true, err
}

// putBack has the tenant, which is halted, have the database and the volume again that it had before a restore.
func (w *Worker) putBack(ctx context.Context, run *ops.Run, t tenants.Tenant) (tenants.Tenant, error) {
	at, err := swapAt(run)
	if err != nil {
		return t, err
	}
	if err := w.runner.Halt(ctx, t); err != nil {
		return t, waitOut(err)
	}
	if err := w.cluster.UndoRestore(ctx, t.DBName, t.ID.Subject(), at, int64(run.ID)); err != nil {
		return t, waitOut(err)
	}
	return w.volumeBack(ctx, run, t.ID)
}
