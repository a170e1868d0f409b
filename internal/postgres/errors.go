package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// NoRows reports whether err says that a query found nothing.
func NoRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

// UniqueViolation returns the name of the unique constraint or index that err says was violated, or "".
func UniqueViolation(err error) string { return violated(err, "23505") }

// CheckViolation returns the name of the check constraint that err says was violated, or "".
func CheckViolation(err error) string { return violated(err, "23514") }

func violated(err error, code string) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == code {
		return pg.ConstraintName
	}
	return ""
}

// Unreachable reports whether err means that the server can't be reached or is going down, so that the same call may work later.
func Unreachable(err error) bool {
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) || pgconn.SafeToRetry(err) || pgconn.Timeout(err) {
		return true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	// Class 08: connection, 57P: shutdown, 53: out of connections, memory or disk.
	return strings.HasPrefix(pg.Code, "08") || strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "53")
}
