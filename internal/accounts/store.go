package accounts

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
)

// store is the SQL on accounts; sessions have a file of their own. Methods that belong into a transaction take its Querier.
type store struct{ pool *pgxpool.Pool }

// credentials is an account with what a log-in checks.
type credentials struct {
	Account
	hash string
}

const accountColumns = "id, email, username, coalesce(full_name, ''), disabled_at IS NULL, role = 'admin', created_at"

func scanAccount(row pgx.CollectableRow) (Account, error) {
	var a Account
	err := row.Scan(&a.ID, &a.Email, &a.Username, &a.FullName, &a.Active, &a.Admin, &a.CreatedAt)
	return a, err
}

func one(ctx context.Context, q postgres.Querier, sql string, args ...any) (Account, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return Account{}, err
	}
	return pgx.CollectExactlyOneRow(rows, scanAccount)
}

func (s store) insert(ctx context.Context, q postgres.Querier, a Account, hash string) (Account, error) {
	role := "user"
	if a.Admin {
		role = "admin"
	}
	return one(ctx, q, `
		INSERT INTO accounts (email, email_key, username, username_key, full_name, password_hash, role)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, $7)
		RETURNING `+accountColumns,
		a.Email, key(a.Email), a.Username, key(a.Username), a.FullName, hash, role)
}

func (s store) get(ctx context.Context, q postgres.Querier, id ID) (Account, error) {
	return one(ctx, q, "SELECT "+accountColumns+" FROM accounts WHERE id = $1", id)
}

// lock keeps an account as it is until the transaction ends.
func (s store) lock(ctx context.Context, q postgres.Querier, id ID) (Account, error) {
	return one(ctx, q, "SELECT "+accountColumns+" FROM accounts WHERE id = $1 FOR NO KEY UPDATE", id)
}

// byLogin finds by user name or e-mail; no user name holds an "@", so at most one row matches.
func (s store) byLogin(ctx context.Context, q postgres.Querier, loginKey string) (credentials, error) {
	var c credentials
	err := q.QueryRow(ctx, "SELECT "+accountColumns+", password_hash FROM accounts WHERE username_key = $1 OR email_key = $1", loginKey).
		Scan(&c.ID, &c.Email, &c.Username, &c.FullName, &c.Active, &c.Admin, &c.CreatedAt, &c.hash)
	return c, err
}

func (s store) passwordHash(ctx context.Context, id ID) (string, error) {
	var hash string
	err := s.pool.QueryRow(ctx, "SELECT password_hash FROM accounts WHERE id = $1", id).Scan(&hash)
	return hash, err
}

// lockUnchanged keeps the account's password and state as they were checked until the transaction ends; pgx.ErrNoRows says that
// they have changed meanwhile.
func (s store) lockUnchanged(ctx context.Context, q postgres.Querier, id ID, hash string) error {
	var found bool
	return q.QueryRow(ctx, `
		SELECT true FROM accounts WHERE id = $1 AND password_hash = $2 AND disabled_at IS NULL FOR SHARE`, id, hash).Scan(&found)
}

// update writes what the owner may change; nil means unchanged.
func (s store) update(ctx context.Context, q postgres.Querier, id ID, email, username, fullName *string) (Account, error) {
	var emailKey, usernameKey *string
	if email != nil {
		emailKey = new(key(*email))
	}
	if username != nil {
		usernameKey = new(key(*username))
	}
	return one(ctx, q, `
		UPDATE accounts SET
			email = coalesce($2, email), email_key = coalesce($3, email_key),
			username = coalesce($4, username), username_key = coalesce($5, username_key),
			full_name = CASE WHEN $6::text IS NULL THEN full_name ELSE nullif($6, '') END,
			updated_at = now()
		WHERE id = $1
		RETURNING `+accountColumns, id, email, emailKey, username, usernameKey, fullName)
}

// setHash replaces the password's hash if it still is old; an empty old matches any. pgx.ErrNoRows: it isn't.
func (s store) setHash(ctx context.Context, q postgres.Querier, id ID, old, hash string) (Account, error) {
	return one(ctx, q, `
		UPDATE accounts SET password_hash = $3, updated_at = now()
		WHERE id = $1 AND ($2 = '' OR password_hash = $2)
		RETURNING `+accountColumns, id, old, hash)
}

func (s store) setDisabled(ctx context.Context, q postgres.Querier, id ID, disabled bool, now time.Time) error {
	_, err := q.Exec(ctx, `
		UPDATE accounts SET disabled_at = CASE WHEN $2 THEN coalesce(disabled_at, $3) END, updated_at = now() WHERE id = $1`,
		id, disabled, now)
	return err
}

func (s store) list(ctx context.Context, after ID, limit int) ([]Account, error) {
	rows, err := s.pool.Query(ctx, "SELECT "+accountColumns+" FROM accounts WHERE id > $1 ORDER BY id LIMIT $2", after, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanAccount)
}
