package pgcluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

// EnsureTenant makes the role and a closed clone. What it takes over from an earlier attempt, and what it leaves alone, is in check.
func (c *Cluster) EnsureTenant(ctx context.Context, t provision.TenantDatabase) error {
	s, err := c.look(ctx, t.Name)
	if err != nil {
		return err
	}
	if err := c.check(t.Name, t.Subject, s); err != nil {
		return err
	}
	verifier, err := scramVerifier(t.Password)
	if err != nil {
		return err
	}
	attributes := fmt.Sprintf("LOGIN CONNECTION LIMIT %d PASSWORD %s", t.ConnectionLimit, quoteText(verifier))
	if !s.role.exists && !s.database.exists {
		taken, err := c.takeSpare(ctx, t, attributes)
		if err != nil || taken {
			return err
		}
	}
	if err := c.ensureRole(ctx, t, attributes, s.role.exists); err != nil {
		return err
	}
	if s.database.exists && s.database.owner == t.Name {
		return nil
	}
	return c.ensureClone(ctx, t.Name, t.Template, t.Subject, s.database)
}

func (c *Cluster) ensureRole(ctx context.Context, t provision.TenantDatabase, attributes string, exists bool) error {
	if exists {
		return c.execTx(ctx, "set the password of role "+t.Name, "ALTER ROLE "+quoteName(t.Name)+" "+attributes, c.limitTempFiles(t.Name, t.TempFilesMB))
	}
	return c.createRole(ctx, t.Name, t.Subject, attributes, c.grantTenants(t.Name), c.limitTempFiles(t.Name, t.TempFilesMB))
}

// ensureClone makes the database, closed to everybody: created without connections allowed, then taken from PUBLIC (privileges on a
// database aren't cloned) and marked, then opened for the control role, to which it belongs until it is handed over.
func (c *Cluster) ensureClone(ctx context.Context, name, template, subject string, found object) error {
	if !found.exists {
		// Its blocks go through the log, which for a database of this size is five times faster than copying files between checkpoints.
		if err := c.clones.Acquire(ctx, 1); err != nil {
			return fmt.Errorf("wait to clone %s: %w", template, err)
		}
		create := fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY wal_log ALLOW_CONNECTIONS false", quoteName(name), quoteName(template))
		err := c.exec(ctx, "clone "+template+" as "+name, create)
		c.clones.Release(1)
		if err != nil {
			return err
		}
	}
	if found.open && found.comment == c.mark(subject) {
		return nil
	}
	return c.execTx(ctx, "close database "+name,
		"REVOKE CONNECT, TEMPORARY ON DATABASE "+quoteName(name)+" FROM PUBLIC",
		"COMMENT ON DATABASE "+quoteName(name)+" IS "+quoteText(c.mark(subject)),
		"ALTER DATABASE "+quoteName(name)+" ALLOW_CONNECTIONS true",
	)
}

// execTx runs statements on the control connection in one transaction and one round trip.
func (c *Cluster) execTx(ctx context.Context, doing string, statements ...string) error {
	return c.exec(ctx, doing, "BEGIN;\n"+strings.Join(statements, ";\n")+";\nCOMMIT")
}

// RemoveTenant drops the database first: a role that owns one can't be dropped.
func (c *Cluster) RemoveTenant(ctx context.Context, name, subject string) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if s.role.exists && s.role.comment != c.mark(subject) && c.marksTenant(s.role.comment) {
		return nil // the name has been used again, which it only is when nothing of the subject's is left
	}
	if err := c.check(name, subject, s); err != nil {
		return err
	}
	return c.drop(ctx, name, s)
}

// drop closes the database and ends its sessions before it is dropped. DROP DATABASE … WITH (FORCE) is no use: it is refused while an autovacuum
// worker, which belongs to a superuser, is in the database; the plain one sends such a worker away itself.
func (c *Cluster) drop(ctx context.Context, name string, s state) error {
	if err := c.dropSides(ctx, name); err != nil {
		return err
	}
	if s.database.exists {
		if err := c.dropDatabase(ctx, name); err != nil {
			return err
		}
	}
	if !s.role.exists {
		return nil
	}
	if err := c.endSessions(ctx, name); err != nil {
		return err
	}
	return c.exec(ctx, "drop role "+name, "DROP ROLE IF EXISTS "+quoteName(name))
}

// endSessions ends those of a role that can't log in any more, in "postgres" for example, which its going alone wouldn't end.
func (c *Cluster) endSessions(ctx context.Context, role string) error {
	err := c.exec(ctx, "close role "+role, "ALTER ROLE "+quoteName(role)+" NOLOGIN")
	if pgCode(err) == "42704" { // gone already
		return nil
	}
	if err != nil {
		return err
	}
	return c.exec(ctx, "end the sessions of role "+role,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename = "+quoteText(role))
}

func (c *Cluster) dropDatabase(ctx context.Context, name string) error {
	err := c.exec(ctx, "close database "+name, "ALTER DATABASE "+quoteName(name)+" ALLOW_CONNECTIONS false")
	if pgCode(err) == "3D000" { // gone already
		return nil
	}
	if err != nil {
		return err
	}
	err = c.exec(ctx, "end the sessions of database "+name,
		"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = "+quoteText(name))
	if err != nil {
		return err
	}
	return c.exec(ctx, "drop database "+name, "DROP DATABASE IF EXISTS "+quoteName(name))
}

// SetAdminPassword works as the tenant's own role: the database is the tenant's, and what it has put there (a trigger, a function) would
// otherwise run with the rights of the control role.
func (c *Cluster) SetAdminPassword(ctx context.Context, t provision.TenantDatabase, hash string) (string, error) {
	conn, err := c.asOwner(ctx, t)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var login string
	err = conn.QueryRow(ctx, `
		UPDATE res_users SET password = $1, write_date = now() AT TIME ZONE 'utc'
		WHERE id = (SELECT res_id FROM ir_model_data WHERE module = 'base' AND name = 'user_admin' AND model = 'res.users') AND active
		RETURNING login`, hash).Scan(&login)
	if err == pgx.ErrNoRows { //nolint:errorlint // never wrapped here
		return "", provision.ErrNoAdmin
	}
	if err != nil {
		return "", classify(fmt.Errorf("set the administrator's password in %s: %w", t.Name, err))
	}
	return login, nil
}

// asOwner connects to a tenant's database as its owner.
func (c *Cluster) asOwner(ctx context.Context, t provision.TenantDatabase) (*pgx.Conn, error) {
	return c.asTenant(ctx, t, t.Name)
}

// asTenant connects to any database as a tenant.
func (c *Cluster) asTenant(ctx context.Context, t provision.TenantDatabase, database string) (*pgx.Conn, error) {
	cfg := c.pool.Config().ConnConfig.Copy()
	cfg.Database, cfg.User, cfg.Password = database, t.Name, t.Password.Reveal()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, classify(fmt.Errorf("connect to database %s as %s: %w", database, t.Name, err))
	}
	return conn, nil
}
