package tenants

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/secrets"
)

// BeginResetTx makes the new password of a reset. Until the reset has ended nobody reads any password, as nobody can say which one
// the tenant's database has. Errors: ErrNoSecrets.
func (s *Service) BeginResetTx(ctx context.Context, tx pgx.Tx, id ID) error {
	return updateSecrets(ctx, tx, "begin to reset the password", `UPDATE tenant_secrets SET pending_password = $2 WHERE tenant_id = $1`,
		id, s.seal(secrets.RandomPassword(adminPasswordLength), pendingPassword, id))
}

// FinishResetTx lets the owner read the new password, once, after the tenant's database has it. The login may have been changed by the
// owner meanwhile. Errors: ErrNoSecrets, also when no reset has begun.
func (s *Service) FinishResetTx(ctx context.Context, tx pgx.Tx, id ID, login string) error {
	known, err := s.secrets(ctx, tx, id)
	if err != nil {
		return err
	}
	if known.PendingPassword == "" {
		return ErrNoSecrets
	}
	return updateSecrets(ctx, tx, "finish the reset of the password", `
		UPDATE tenant_secrets SET admin_password = $2, admin_login = $3, pending_password = NULL, read_at = NULL WHERE tenant_id = $1`,
		id, s.seal(known.PendingPassword, adminPassword, id), login)
}

// AbortReset forgets the new password, and the old one too if its owner hasn't read it: the database may have either. A repeat changes
// nothing.
func (s *Service) AbortReset(ctx context.Context, id ID) error {
	_, err := s.pool.Exec(ctx, `UPDATE tenant_secrets SET admin_password = NULL, pending_password = NULL
		WHERE tenant_id = $1 AND pending_password IS NOT NULL`, id)
	return wrap(err, "give up the reset of the password")
}

// updateSecrets runs a statement on the secrets of one tenant, which must have some.
func updateSecrets(ctx context.Context, tx pgx.Tx, doing, sql string, id ID, args ...any) error {
	tag, err := tx.Exec(ctx, sql, append([]any{id}, args...)...)
	if err != nil {
		return fmt.Errorf("%s of tenant %s: %w", doing, id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNoSecrets
	}
	return nil
}
