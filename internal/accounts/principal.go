// Package accounts holds the people who log in: accounts, passwords, sessions and tokens, with their SQL.
// It knows nothing of HTTP and of tenants.
package accounts

import "strconv"

// ID identifies an account.
type ID int64

// String returns the id in decimal.
func (id ID) String() string { return strconv.FormatInt(int64(id), 10) }

// Principal is who makes a request, already authenticated. It is passed explicitly, never through a context.
type Principal struct {
	AccountID ID
	Username  string
	Email     string
	Admin     bool
	SessionID string // the session that the request belongs to; "" for System
}

// System is the principal of our own jobs.
func System() Principal { return Principal{Username: "system", Admin: true} }
