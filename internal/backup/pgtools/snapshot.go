package pgtools

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
)

// keyTables are counted: after a restore they must have as many rows again.
func keyTables() []string {
	return []string{"res_users", "res_partner", "res_company", "ir_attachment", "ir_module_module", "account_move", "sale_order", "product_template"}
}

// Bounds of what is held in memory: a tenant may put anything in the place of Odoo's tables.
const (
	mostModules   = 10_000
	longestModule = 1000
	// longestLook is how long a database may take to be looked at, which others wait for.
	longestLook = 15 * time.Minute
)

// snapshot is a transaction that goes on until Close.
type snapshot struct {
	server *Server
	access backup.Access
	conn   *pgx.Conn
	tx     pgx.Tx
	id     string
}

var _ backup.Snapshot = (*snapshot)(nil)

// Snapshot begins a transaction that exports its snapshot for pg_dump.
func (s *Server) Snapshot(ctx context.Context, a backup.Access) (backup.Snapshot, error) {
	conn, err := s.connect(ctx, a)
	if err != nil {
		return nil, err
	}
	conn.PgConn().Frontend().SetMaxBodyLen(answerBytes) // what looks like Odoo's tables may be anything
	snap := &snapshot{server: s, access: a, conn: conn}
	if err := snap.begin(ctx); err != nil {
		snap.Close(ctx)
		return nil, err
	}
	return snap, nil
}

func (s *snapshot) begin(ctx context.Context) error {
	var err error
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return classify(fmt.Errorf("begin a snapshot of %s: %w", s.access.Database, err))
	}
	var odoo bool
	err = s.tx.QueryRow(ctx, `SELECT pg_export_snapshot(), to_regclass('public.ir_attachment') IS NOT NULL AND to_regclass('public.ir_module_module') IS NOT NULL`).
		Scan(&s.id, &odoo)
	switch {
	case err != nil:
		return classify(fmt.Errorf("export a snapshot of %s: %w", s.access.Database, err))
	case !odoo:
		return backup.ErrNotOdoo.WithCause(fmt.Errorf("database %s has no ir_attachment or ir_module_module", s.access.Database))
	}
	return nil
}

// Describe reads it all in the snapshot.
func (s *snapshot) Describe(ctx context.Context) (archive.Database, time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, longestLook, backup.ErrTooLong)
	defer cancel()
	d := archive.Database{Name: s.access.Database, Modules: map[string]string{}, Rows: map[string]int64{}}
	var at time.Time
	err := s.tx.QueryRow(ctx, `
		SELECT now(), current_setting('server_version'), pg_database_size(current_database()),
		       coalesce((SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'), ''),
		       coalesce((SELECT latest_version FROM ir_module_module WHERE name = 'base'), '')`).
		Scan(&at, &d.ServerVersion, &d.Bytes, &d.UUID, &d.OdooVersion)
	if err == nil {
		err = s.modules(ctx, d.Modules)
	}
	for _, table := range keyTables() {
		if err == nil {
			err = s.count(ctx, table, d.Rows)
		}
	}
	if err != nil {
		return d, at, bounded(ctx, fmt.Errorf("describe %s: %w", s.access.Database, err))
	}
	d.DumpVersion, err = s.server.toolVersion(ctx, s.access)
	return d, at, err
}

func (s *snapshot) modules(ctx context.Context, into map[string]string) error {
	rows, err := s.tx.Query(ctx, `SELECT name, coalesce(latest_version, '') FROM ir_module_module WHERE state IN ('installed', 'to upgrade', 'to remove')`)
	if err != nil {
		return err
	}
	var name, version string
	_, err = pgx.ForEachRow(rows, []any{&name, &version}, func() error {
		into[name] = version
		if len(into) > mostModules || len(name)+len(version) > longestModule {
			return backup.ErrNotOdoo.WithCause(fmt.Errorf("database %s says that it has more than %d modules, or one called %.60q", s.access.Database, mostModules, name))
		}
		return nil
	})
	return err
}

func (s *snapshot) count(ctx context.Context, table string, into map[string]int64) error {
	var there bool
	if err := s.tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", "public."+table).Scan(&there); err != nil || !there {
		return err
	}
	var n int64
	if err := s.tx.QueryRow(ctx, "SELECT count(*) FROM "+pgx.Identifier{"public", table}.Sanitize()).Scan(&n); err != nil {
		return err
	}
	into[table] = n
	return nil
}

// EachFile reads as it goes: there may be a million.
func (s *snapshot) EachFile(ctx context.Context, fn func(name string) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, longestLook, backup.ErrTooLong)
	defer cancel()
	rows, err := s.tx.Query(ctx, `SELECT store_fname FROM ir_attachment WHERE store_fname IS NOT NULL`)
	if err != nil {
		return bounded(ctx, fmt.Errorf("list the attachments of %s: %w", s.access.Database, err))
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return fmt.Errorf("list the attachments of %s: %w", s.access.Database, err)
		}
		if err := fn(name); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return bounded(ctx, fmt.Errorf("list the attachments of %s: %w", s.access.Database, err))
	}
	return nil
}

// zstdSince is the first version whose programs know zstd.
const zstdSince = 16

// Dump compresses a little at the source where that can be done fast: on its way it is copied and hashed several times. Its tables' structure
// may not change meanwhile; for who changes it just now it waits a minute.
func (s *snapshot) Dump(ctx context.Context, w io.Writer) error {
	if err := s.server.fits(ctx, s.access, s.conn); err != nil {
		return err
	}
	version, err := s.server.toolVersion(ctx, s.access) // known by now
	if err != nil {
		return err
	}
	compress := "0"
	if n, err := strconv.Atoi(major(version)); err == nil && n >= zstdSince {
		compress = "zstd:1"
	}
	args := []string{
		"pg_dump", "--format=custom", "--compress=" + compress, "--snapshot=" + s.id, "--no-password", "--lock-wait-timeout=60s", s.server.target(s.access),
	}
	if err := s.server.run(ctx, s.access, `exec "$@"`, args, strings.NewReader(""), w); err != nil {
		return fmt.Errorf("dump %s: %w", s.access.Database, err)
	}
	return nil
}

// Close ends the transaction with its connection.
func (s *snapshot) Close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = s.conn.Close(ctx)
}
