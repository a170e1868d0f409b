package tenants

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
)

// DeleteInput is what an administrator says with a deletion.
type DeleteInput struct {
	Reason          string
	SkipFinalBackup bool // needs a reason
}

// Delete deletes a tenant now, whatever it is doing. It is unreachable at once; its address is free when all of it is gone. A repeat
// returns the deletion that is going on, and may let it go on without its final backup.
// Errors: ErrNotFound, ErrAdminOnly, ErrBadReason, ErrNoReason.
func (s *Service) Delete(ctx context.Context, p accounts.Principal, ip netip.Addr, name string, in DeleteInput) (Change, error) {
	reason, err := parseReason(in.Reason)
	if err == nil && in.SkipFinalBackup && reason == "" {
		err = ErrNoReason.WithMessage("Say in reason why the final backup may be skipped")
	}
	in.Reason = reason
	return s.command(ctx, request{p, ip, "client.delete", reason}, name, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		switch {
		case !p.Admin:
			return Change{}, ErrAdminOnly.WithMessage("Only administrators can delete clients")
		case err != nil:
			return Change{}, err
		case t.State == Deleting:
			return s.deleteAgain(ctx, tx, t, in)
		}
		return s.delete(ctx, tx, t, in, "deleted by an administrator")
	})
}

// delete takes any tenant to its end: at once if it was never paid for, since nothing of it exists outside our database.
func (s *Service) delete(ctx context.Context, tx pgx.Tx, t Tenant, in DeleteInput, why string) (Change, error) {
	if t.PaidAt == nil {
		t, err := s.moved(ctx, tx, t.ID, move{from: []State{t.State}, to: Deleted, reason: why})
		return Change{Tenant: t}, err
	}
	m := move{from: []State{t.State}, to: Deleting, reason: why}
	if in.SkipFinalBackup {
		m.skippedBackup = in.Reason
	}
	t, err := s.moved(ctx, tx, t.ID, m)
	if err != nil {
		return Change{}, err
	}
	return s.nextWith(ctx, tx, t, DeleteKind, in.operation(t))
}

// deleteAgain lets a deletion that waits for its final backup go on without; one that was held or abandoned begins again.
func (s *Service) deleteAgain(ctx context.Context, tx pgx.Tx, t Tenant, in DeleteInput) (Change, error) {
	if in.SkipFinalBackup && t.FinalBackupSkipped == "" {
		var err error
		t, err = one(ctx, tx, "skip the final backup", `UPDATE tenants SET final_backup_skipped = $2, updated_at = $3 WHERE id = $1
			RETURNING `+columns, t.ID, in.Reason, s.now())
		if err != nil {
			return Change{}, err
		}
	}
	op, err := s.ongoing(ctx, tx, t, DeleteKind)
	if err != nil || op != nil {
		return Change{Tenant: t, Operation: op}, err
	}
	return s.nextWith(ctx, tx, t, DeleteKind, in.operation(t))
}

func (in DeleteInput) operation(t Tenant) OperationInput {
	return OperationInput{TenantID: t.ID, SkipFinalBackup: t.FinalBackupSkipped != "", Reason: in.Reason}
}

// MarkDeletedTx says that nothing of the tenant is left: its row stays as history, its name is free, its passwords are wiped. A repeat
// changes nothing. Errors: ErrConflict.
func (s *Service) MarkDeletedTx(ctx context.Context, tx pgx.Tx, id ID) error {
	_, err := s.commandTx(ctx, tx, "client.deleted", "", id, func(ctx context.Context, tx pgx.Tx, t Tenant) (Change, error) {
		if t.State == Deleted {
			return Change{Tenant: t}, nil
		}
		t, err := s.moved(ctx, tx, id, move{from: []State{Deleting}, to: Deleted, reason: "nothing is left"})
		if err != nil {
			return Change{}, err
		}
		_, err = tx.Exec(ctx, `DELETE FROM tenant_secrets WHERE tenant_id = $1`, id)
		return Change{Tenant: t}, wrap(err, "wipe the client's secrets")
	})
	return err
}
