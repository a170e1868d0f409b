package accounts

import (
	"context"
	"errors"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/audit"
	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// RegisterInput is what a new account may set about itself; role and id are not among it.
type RegisterInput struct {
	Email    string
	Username string
	Password secrets.Secret
	FullName *string
}

// Register makes an account of role user. Errors: Invalid with all the fields that are wrong, ErrUserExists when the user name or the
// e-mail address is taken.
func (s *Service) Register(ctx context.Context, ip netip.Addr, in RegisterInput) (Account, error) {
	return s.create(ctx, in, false, func(a Account) audit.Entry {
		return audit.Entry{AccountID: int64(a.ID), Actor: a.Username, Action: "account.register", IP: ip}
	})
}

func (s *Service) create(ctx context.Context, in RegisterInput, admin bool, entry func(Account) audit.Entry) (Account, error) {
	a, password, err := in.clean()
	if err != nil {
		return Account{}, err
	}
	a.Admin = admin
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return Account{}, err
	}
	err = postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		if a, err = s.store.insert(ctx, tx, a, hash); err != nil {
			return err
		}
		return s.audit.RecordTx(ctx, tx, entry(a))
	})
	if err != nil {
		return Account{}, writeErr("create an account", err)
	}
	return a, nil
}

// clean reports everything that is wrong with the input at once.
func (in RegisterInput) clean() (Account, secrets.Secret, error) {
	var a Account
	var all [4]error
	var password secrets.Secret
	a.Email, all[0] = ParseEmail(in.Email)
	a.Username, all[1] = cleanUsername(in.Username)
	password, all[2] = cleanPassword("password", in.Password)
	if in.FullName != nil {
		a.FullName, all[3] = cleanFullName(*in.FullName)
	}
	return a, password, joinFields(all[:]...)
}

// joinFields makes one Invalid error of several; its text is that of the first and counts nothing that isn't wrong.
func joinFields(all ...error) error {
	var joined *errs.Error
	for _, err := range all {
		var e *errs.Error
		if !errors.As(err, &e) {
			continue
		}
		if joined == nil {
			joined = e
			continue
		}
		joined = joined.WithMessage("%s %s", joined.Message, e.Message)
		joined.Fields = append(joined.Fields[:len(joined.Fields):len(joined.Fields)], e.Fields...)
	}
	if joined == nil {
		return nil
	}
	return joined
}

// writeErr is storeErr, where a violated uniqueness means that the account exists.
func writeErr(doing string, err error) error {
	switch postgres.UniqueViolation(err) {
	case "accounts_email_taken", "accounts_username_taken":
		return ErrUserExists
	}
	return storeErr(doing, err)
}
