// Package postgres opens the platform's own database: the pool, transactions, migrations and the classification of its errors.
// SQL statements live beside the domain they belong to, not here.
package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Querier is what a store needs: a pool or a transaction.
type Querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Beginner starts transactions: a pool, or a transaction (which makes a savepoint).
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// Options bound what one process takes from the platform database. Zero values mean the defaults below.
type Options struct {
	MaxConns         int32         // default 10
	ConnectTimeout   time.Duration // default 5 s
	StatementTimeout time.Duration // default 30 s, enforced by the server
	ApplicationName  string        // shown in pg_stat_activity
}

// Open returns a pool for url. It doesn't connect: a database that is down shows at the first query.
func Open(ctx context.Context, url string, opts Options) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errors.New("the database URL can't be parsed") // pgx's own text may quote the password
	}
	cfg.MaxConns = cmp.Or(opts.MaxConns, 10)
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.ConnConfig.ConnectTimeout = cmp.Or(opts.ConnectTimeout, 5*time.Second)
	params := cfg.ConnConfig.RuntimeParams
	params["application_name"] = cmp.Or(opts.ApplicationName, "controlplane")
	params["statement_timeout"] = fmt.Sprint(cmp.Or(opts.StatementTimeout, 30*time.Second).Milliseconds())
	params["timezone"] = "UTC"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("set up the database pool: %w", err)
	}
	return pool, nil
}

// InTx runs fn in a transaction and commits if it returns nil. No outside call (HTTP, Docker, S3) may happen in fn.
func InTx(ctx context.Context, db Beginner, fn func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, db, fn)
}
