package accounts

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// Get returns an account for our own jobs. Errors: ErrNotFound.
func (s *Service) Get(ctx context.Context, id ID) (Account, error) {
	a, err := s.store.get(ctx, s.store.pool, id)
	return a, readErr("read an account", err)
}

// Me returns p's own account. Errors: ErrNotFound if it has been removed.
func (s *Service) Me(ctx context.Context, p Principal) (Account, error) {
	return s.Get(ctx, p.AccountID)
}

// UpdateInput is what people may change of their own account; nil leaves it as it is, an empty full name removes it.
type UpdateInput struct {
	Email    *string
	Username *string
	FullName *string
}

// UpdateMe changes p's own account. Access tokens stay good: they name the account by its id. Errors: Invalid, ErrUserExists.
func (s *Service) UpdateMe(ctx context.Context, p Principal, ip netip.Addr, in UpdateInput) (Account, error) {
	in, err := in.clean()
	if err != nil {
		return Account{}, err
	}
	if in == (UpdateInput{}) {
		return s.Me(ctx, p)
	}
	var a Account
	err = postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		before, err := s.store.lock(ctx, tx, p.AccountID)
		if err != nil {
			return err
		}
		if a, err = s.store.update(ctx, tx, p.AccountID, in.Email, in.Username, in.FullName); err != nil {
			return err
		}
		return s.audit.RecordTx(ctx, tx, audit.Entry{
			AccountID: int64(p.AccountID), Actor: p.Username, Action: "account.update", IP: ip, Detail: audit.Diff(before.fields(), a.fields()),
		})
	})
	if err != nil {
		return Account{}, writeErr("update an account", notFound(err))
	}
	return a, nil
}

// fields are what its owner may change, for the activity log.
func (a Account) fields() map[string]any {
	return map[string]any{"email": a.Email, "username": a.Username, "full_name": a.FullName}
}

// clean returns the input as it is stored.
func (in UpdateInput) clean() (UpdateInput, error) {
	var all []error
	field := func(value *string, clean func(string) (string, error)) *string {
		if value == nil {
			return nil
		}
		text, err := clean(*value)
		all = append(all, err)
		return &text
	}
	out := UpdateInput{Email: field(in.Email, ParseEmail), Username: field(in.Username, cleanUsername), FullName: field(in.FullName, cleanFullName)}
	return out, joinFields(all...)
}

// ChangePassword replaces p's password, ends all sessions of the account, this one included, and begins a new one, whose tokens it returns.
// Errors: ErrWrongPassword, Invalid on "new_password", ratelimit.ErrLimited as for Login.
func (s *Service) ChangePassword(ctx context.Context, p Principal, ip netip.Addr, old, fresh secrets.Secret) (Tokens, error) {
	password, err := cleanPassword("new_password", fresh)
	if err != nil {
		return Tokens{}, err
	}
	stored, err := s.store.passwordHash(ctx, p.AccountID)
	if err != nil {
		return Tokens{}, readErr("read an account", err)
	}
	if err := s.limits.Allow(ctx, tryKey(p.AccountID, ""), passwordTries, passwordPeriod); err != nil {
		return Tokens{}, err
	}
	match, err := s.hasher.matches(ctx, old, stored)
	if err != nil {
		return Tokens{}, err
	}
	if !match {
		return Tokens{}, ErrWrongPassword
	}
	e := audit.Entry{AccountID: int64(p.AccountID), Actor: p.Username, Action: "account.password_change", IP: ip}
	return s.replacePassword(ctx, p.AccountID, stored, password, e)
}

// replacePassword does nothing if the password is no longer the one that was checked.
func (s *Service) replacePassword(ctx context.Context, id ID, old string, password secrets.Secret, e audit.Entry) (Tokens, error) {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return Tokens{}, err
	}
	var tokens Tokens
	err = postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		a, err := s.store.setHash(ctx, tx, id, old, hash)
		if err != nil {
			return err
		}
		if err := s.store.endSessions(ctx, tx, id, endedByPassword, s.now()); err != nil {
			return err
		}
		if err := s.audit.RecordTx(ctx, tx, e); err != nil {
			return err
		}
		tokens, err = s.beginTx(ctx, tx, a)
		return err
	})
	if postgres.NoRows(err) {
		return Tokens{}, ErrWrongPassword
	}
	if err != nil {
		return Tokens{}, storeErr("change a password", err)
	}
	return tokens, nil
}

func notFound(err error) error {
	if postgres.NoRows(err) {
		return ErrNotFound
	}
	return err
}

func readErr(doing string, err error) error {
	if err == nil {
		return nil
	}
	return storeErr(doing, notFound(err))
}
