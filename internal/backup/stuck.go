package backup

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// textStuck is what an owner reads of a backup whose operation ended without it.
const textStuck = "Something went wrong on our side; our staff have been told."

// failHeld gives a backup up whose operation is held, which nobody may look at for long: no other one of the client could begin before. An
// operation that is tried again finds it failed, and tidies up.
func (w *Worker) failHeld(ctx context.Context, tx pgx.Tx, r *ops.Run, cause error) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	b, err := get(ctx, tx, in.BackupID, "FOR UPDATE")
	if err != nil {
		return err
	}
	if b.State != Queued && b.State != Running {
		return nil
	}
	if err := setError(ctx, tx, b.ID, safeText(cause)); err != nil {
		return err
	}
	if b, err = setFailed(ctx, tx, b.ID, w.now()); err != nil {
		return err
	}
	return raiseFailed(ctx, tx, b)
}

// failStuck gives up the backups that nobody makes any more: an operation that an administrator abandoned doesn't tell, and one that is gone
// can't. Each would keep all others of its client from being taken.
func (s *Service) failStuck(ctx context.Context) error {
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			UPDATE backups b SET state = 'failed', finished_at = $1, error = coalesce(b.error, $2)
			WHERE b.state IN ('queued', 'running') AND NOT EXISTS
				(SELECT FROM operations o WHERE o.id = b.operation_id AND o.state IN ('queued', 'running', 'unwinding'))
			RETURNING `+columns, s.now(), textStuck)
		if err != nil {
			return err
		}
		stuck, err := pgx.CollectRows(rows, scan)
		for _, b := range stuck {
			err = errors.Join(err, raiseFailed(ctx, tx, b))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("give up backups that nobody makes: %w", err)
	}
	return nil
}

func raiseFailed(ctx context.Context, q postgres.Querier, b Backup) error {
	return alerts.Raise(ctx, q, alerts.Alert{
		Kind: alertFailed, Subject: b.TenantID.Subject(),
		Message: fmt.Sprintf("The %s backup %s of %s failed: %s%s Operation %d has the details.",
			b.Kind, b.ID, b.TenantName, b.Error, advice(b.Error), b.OperationID),
	})
}
