// Package pgcluster is provision's Database on a PostgreSQL server of 15 or later: tenants' roles and databases, and the templates
// that they are cloned from. It works as a control role with CREATEDB and CREATEROLE only; what takes a superuser is in
// deploy/postgres/superuser.sql.
package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"controlplane/internal/errs"
	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

// TenantsRole is the group role that every tenant's role is a member of; superuser.sql makes it.
const TenantsRole = "odootenants"

// Options name the server and the control role (EXTERNAL_DB_*).
type Options struct {
	Host         string
	Port         int
	User         string
	Password     secrets.Secret
	Database     string // to connect to; "" and template1 mean postgres
	SSLMode      string // "" means prefer
	RootCertFile string // to verify the server by; "": those of this machine
	DiskBytes    int64  // that databases may fill; 0: nobody knows
	Installation string // the id that marks what is ours
	MaxConns     int32  // default 12, as many clones at once as a process has workers
	Log          *slog.Logger
}

// Cluster is the tenants' PostgreSQL server.
type Cluster struct {
	pool         *pgxpool.Pool
	installation string
	user         string
	database     string
	disk         int64
	log          *slog.Logger
	clones       *semaphore.Weighted
}

// clonesAtOnce keeps many clones from fighting for the disk: eight at once took six seconds each on two cores, one takes a fifth of a
// second.
const clonesAtOnce = 2

var _ provision.Database = (*Cluster)(nil)

// ErrUnreachable is returned (with the cause) when the server doesn't answer.
var ErrUnreachable = errs.New(errs.Unavailable, "tenant_database_unreachable", "The database server can't be reached.")

// New returns a cluster; it doesn't connect.
func New(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Database == "" || opts.Database == "template1" {
		opts.Database = "postgres" // a connection to template1 would stop every CREATE DATABASE that copies it
	}
	if opts.SSLMode == "" {
		opts.SSLMode = "prefer"
	}
	if opts.MaxConns == 0 {
		opts.MaxConns = 12
	}
	server := fmt.Sprintf("host=%s port=%d sslmode=%s", quoteParam(opts.Host), opts.Port, quoteParam(opts.SSLMode))
	if opts.RootCertFile != "" {
		server += " sslrootcert=" + quoteParam(opts.RootCertFile)
	}
	cfg, err := pgxpool.ParseConfig(server)
	if err != nil {
		return nil, fmt.Errorf("set up the tenants' database server %s: %w", net.JoinHostPort(opts.Host, strconv.Itoa(opts.Port)), err)
	}
	conn := cfg.ConnConfig
	conn.Database, conn.User, conn.Password = opts.Database, opts.User, opts.Password.Reveal()
	conn.ConnectTimeout = 5 * time.Second
	conn.RuntimeParams["application_name"] = "controlplane"
	conn.RuntimeParams["timezone"] = "UTC"
	cfg.MaxConns = opts.MaxConns
	cfg.MaxConnIdleTime = 5 * time.Minute
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("set up the pool of the tenants' database server: %w", err)
	}
	return &Cluster{
		pool: pool, installation: opts.Installation, user: opts.User, database: opts.Database, disk: opts.DiskBytes, log: opts.Log,
		clones: semaphore.NewWeighted(clonesAtOnce),
	}, nil
}

// Ping reports whether the server answers.
func (c *Cluster) Ping(ctx context.Context) error {
	return c.exec(ctx, "ask the tenants' database server", "SELECT")
}

// Close closes the connections.
func (c *Cluster) Close() { c.pool.Close() }

// quoteParam quotes a value of a connection string.
func quoteParam(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// in runs fn on a connection of its own to a tenant's or template's database.
func (c *Cluster) in(ctx context.Context, database string, fn func(conn *pgx.Conn) error) error {
	cfg := c.pool.Config().ConnConfig.Copy()
	cfg.Database = database
	// A clone's catalog is fresh, and each statement is used once: don't prepare.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return classify(fmt.Errorf("connect to database %s: %w", database, err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return classify(fn(conn))
}

// exec runs one statement on the control connection.
func (c *Cluster) exec(ctx context.Context, doing, sql string) error {
	if _, err := c.pool.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return classify(fmt.Errorf("%s: %w", doing, err))
	}
	return nil
}

// classify marks errors that mean that the server can't be reached.
func classify(err error) error {
	if err != nil && unreachable(err) {
		return ErrUnreachable.WithCause(err)
	}
	return err
}

// pgCode is the SQLSTATE in err's chain, or "".
func pgCode(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// unreachable reports whether the same call may work once the server is back: no connection, or one of the SQLSTATE classes for lost
// connections, shut-downs and a server out of connections, memory or disk.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	code := pgCode(err)
	if errors.As(err, &connect) || pgconn.Timeout(err) || pgconn.SafeToRetry(err) {
		return code == "" || !strings.HasPrefix(code, "28") // a refused password isn't an outage
	}
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") || strings.HasPrefix(code, "53") && code != tooManyTempFiles
}
