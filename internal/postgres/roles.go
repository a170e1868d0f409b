package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// restricted are the tables of which the lesser role gets less than reading and writing. The log's id and time are the server's to
// give, so that nobody can write an entry of yesterday.
var restricted = []struct{ table, privileges string }{ //nolint:gochecknoglobals // a constant table
	{"activity_log", "SELECT, INSERT (account_id, actor, tenant_id, action, ip, detail)"},
	{"audit_batches", "SELECT, INSERT"},
	{"ledger_accounts", "SELECT, INSERT (name, kind)"},
	{"ledger_entries", "SELECT, INSERT (key, mode, at, kind, account_id, tenant_id, payment_id, memo)"},
	{"ledger_lines", "SELECT, INSERT"},
	{"tax_rates", "SELECT"},
	{"tax_exports", "SELECT"},
	{"invoices", "SELECT, INSERT"},
	{"invoice_lines", "SELECT, INSERT"},
	{"invoice_counters", "SELECT, INSERT, UPDATE"},
	{"installation", "SELECT"},
	{"backup_proving", "SELECT"},
	{"tenant_domains", "SELECT, INSERT, DELETE, UPDATE (status, reason_code, reason, expires_at, verified_at, flagged_at, checked_at, next_check_at)"},
	{"goose_db_version", "SELECT"},
	{"river_migration", "SELECT"},
}

// Grant gives role, which must exist, what the running platform needs on the schema that Migrate has brought up to date, and takes away
// what it doesn't: role can change neither the schema nor the audit log, the books and the invoices. The pool's user owns the schema, and
// must be another role.
func Grant(ctx context.Context, pool *pgxpool.Pool, role string) error {
	quoted := pgx.Identifier{role}.Sanitize()
	statements := []string{
		"GRANT USAGE ON SCHEMA public TO " + quoted,
		"REVOKE CREATE ON SCHEMA public FROM PUBLIC, " + quoted,
		"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM " + quoted,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO " + quoted,
		"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO " + quoted,
		"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO " + quoted,
		// Between a migration and the next Grant, an older process may go on with what it knows.
		"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO " + quoted,
		"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO " + quoted,
	}
	for _, r := range restricted {
		table := pgx.Identifier{"public", r.table}.Sanitize()
		statements = append(statements, "REVOKE ALL ON "+table+" FROM PUBLIC, "+quoted, "GRANT "+r.privileges+" ON "+table+" TO "+quoted)
	}
	err := InTx(ctx, pool, func(tx pgx.Tx) error {
		if err := checkGrantable(ctx, tx, role); err != nil {
			return err
		}
		if maintainable(tx.Conn()) {
			statements = append(statements, "GRANT MAINTAIN ON public.river_job TO "+quoted) // the queue rebuilds its indexes at night
		}
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give role %s what it needs: %w", role, err)
	}
	return nil
}

// checkGrantable queues behind other migrating replicas, and says what an operator would have to guess from PostgreSQL's errors.
func checkGrantable(ctx context.Context, tx pgx.Tx, role string) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", migrateLock); err != nil {
		return fmt.Errorf("wait for the migration lock: %w", err)
	}
	var exists, same bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), $1 = current_user", role).Scan(&exists, &same)
	switch {
	case err != nil:
		return fmt.Errorf("look for the role: %w", err)
	case !exists:
		return errors.New("there is no such role; create it first (CREATE ROLE … LOGIN PASSWORD …)")
	case same:
		return errors.New("it is the role that migrates; the platform must run as another")
	}
	return nil
}

// maintainable reports whether the server knows the MAINTAIN privilege, as PostgreSQL does from version 17 on.
func maintainable(conn *pgx.Conn) bool { return serverMajor(conn.PgConn()) >= 17 }

func serverMajor(conn *pgconn.PgConn) int {
	var major int
	if _, err := fmt.Sscanf(conn.ParameterStatus("server_version"), "%d", &major); err != nil {
		return 0
	}
	return major
}

// Excess lists what the connection's user may do that a running platform must not be able to: it is a superuser, owns the schema, may
// change it, or may change what is append-only. Empty means that Grant's restrictions hold.
func Excess(ctx context.Context, q Querier) ([]string, error) {
	rows, err := q.Query(ctx, `
		WITH guarded AS (
			SELECT c.oid, c.relname, c.relowner FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
			WHERE p.proname = 'refuse_change' AND c.relnamespace = 'public'::regnamespace
		)
		SELECT 'it is a superuser' FROM pg_roles WHERE rolname = current_user AND rolsuper
		UNION ALL
		SELECT 'it may create tables in the schema' WHERE has_schema_privilege('public', 'CREATE')
		UNION ALL
		SELECT 'it owns ' || relname FROM guarded WHERE pg_has_role(relowner, 'MEMBER')
		UNION ALL
		SELECT 'it may ' || lower(privilege) || ' ' || relname
		FROM guarded CROSS JOIN unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
		WHERE has_table_privilege(oid, privilege) OR privilege = 'UPDATE' AND has_any_column_privilege(oid, privilege)`)
	if err != nil {
		return nil, fmt.Errorf("read what the database role may do: %w", err)
	}
	excess, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read what the database role may do: %w", err)
	}
	return excess, nil
}
