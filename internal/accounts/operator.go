package accounts

import (
	"context"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// Operator is the actor, in the activity log, of what is done at the command line.
const Operator = "operator"

const maxList = 500

// CreateAdmin makes an account of role admin; only the command line calls it. Errors: as Register.
func (s *Service) CreateAdmin(ctx context.Context, in RegisterInput) (Account, error) {
	return s.create(ctx, in, true, func(a Account) audit.Entry {
		return audit.Entry{AccountID: int64(a.ID), Actor: Operator, Action: "account.create_admin"}
	})
}

// SetDisabled disables the account with that user name or e-mail address and ends its sessions, or enables it again. A repeat does nothing.
// Errors: ErrNotFound.
func (s *Service) SetDisabled(ctx context.Context, login string, disabled bool) error {
	action := "account.enable"
	if disabled {
		action = "account.disable"
	}
	return s.operate(ctx, login, action, func(tx pgx.Tx, id ID) error {
		if err := s.store.setDisabled(ctx, tx, id, disabled, s.now()); err != nil || !disabled {
			return err
		}
		return s.store.endSessions(ctx, tx, id, endedByDisable, s.now())
	})
}

// ResetPassword gives the account a random password, which it returns, and ends its sessions. Errors: ErrNotFound.
func (s *Service) ResetPassword(ctx context.Context, login string) (secrets.Secret, error) {
	password := NewPassword()
	if err := s.SetPassword(ctx, login, password); err != nil {
		return "", err
	}
	return password, nil
}

// SetPassword is ResetPassword with a password that the operator chose. Errors: ErrNotFound, Invalid.
func (s *Service) SetPassword(ctx context.Context, login string, password secrets.Secret) error {
	clean, err := cleanPassword("password", password)
	if err != nil {
		return err
	}
	hash, err := s.hasher.hash(ctx, clean)
	if err != nil {
		return err
	}
	return s.operate(ctx, login, "account.password_reset", func(tx pgx.Tx, id ID) error {
		if _, err := s.store.setHash(ctx, tx, id, "", hash); err != nil {
			return err
		}
		return s.store.endSessions(ctx, tx, id, endedByPassword, s.now())
	})
}

// operate does something to the account with that login and records it, in one transaction.
func (s *Service) operate(ctx context.Context, login, action string, do func(tx pgx.Tx, id ID) error) error {
	err := postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		c, err := s.store.byLogin(ctx, tx, loginKey(login))
		if err != nil {
			return err
		}
		if err := do(tx, c.ID); err != nil {
			return err
		}
		return s.audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(c.ID), Actor: Operator, Action: action, Detail: map[string]any{"username": c.Username},
		})
	})
	return readErr(action, err)
}

// List returns up to limit accounts (at most 500) with ids above after, in their order.
func (s *Service) List(ctx context.Context, after ID, limit int) ([]Account, error) {
	list, err := s.store.list(ctx, after, min(max(limit, 1), maxList))
	if err != nil {
		return nil, storeErr("list accounts", err)
	}
	return list, nil
}
