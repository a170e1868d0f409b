package accounts

import (
	"fmt"
	"time"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// What callers may meet. Texts and kinds are those that existing front ends know.
var (
	ErrUserExists       = errs.New(errs.Malformed, "user_exists", "User already exists")
	ErrBadCredentials   = errs.New(errs.Unauthenticated, "bad_credentials", "Incorrect username or password")
	ErrDisabled         = errs.New(errs.Forbidden, "account_disabled", "User account is disabled")
	ErrNotAuthenticated = errs.New(errs.Unauthenticated, "not_authenticated", "Not authenticated")
	ErrBadToken         = errs.New(errs.Unauthenticated, "bad_token", "Could not validate credentials")
	ErrWrongPassword    = errs.New(errs.Invalid, "wrong_password", "The current password is wrong.")
	ErrNotFound         = errs.New(errs.NotFound, "account_not_found", "There is no such account.")
	ErrUnavailable      = errs.New(errs.Unavailable, "accounts_unavailable", "Accounts can't be reached at the moment. Please try again.")
)

const retryUnavailable = 5 * time.Second

// storeErr says what was being done, and that the caller may try again when it is only the database that can't be reached.
func storeErr(doing string, err error) error {
	if postgres.Unreachable(err) {
		err = ErrUnavailable.WithCause(err).WithRetryAfter(retryUnavailable)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
