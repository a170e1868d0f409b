package pgcluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

// mark is the comment that says whose a role or database is: "odoo-hosting 4f2a91c0de11 tenant/42".
func (c *Cluster) mark(subject string) string {
	return "odoo-hosting " + c.installation + " " + subject
}

// object is what the server has under a name.
type object struct {
	exists  bool
	comment string
	owner   string // of a database
	open    bool   // a database that can be connected to
	login   bool   // a role that can log in
}

// state is the role and the database of one name.
type state struct {
	role     object
	database object
}

// look reads both in one statement.
func (c *Cluster) look(ctx context.Context, name string) (state, error) {
	var s state
	err := c.pool.QueryRow(ctx, `
		SELECT r.oid IS NOT NULL, coalesce(shobj_description(r.oid, 'pg_authid'), ''), coalesce(r.rolcanlogin, false),
		       d.oid IS NOT NULL, coalesce(shobj_description(d.oid, 'pg_database'), ''),
		       coalesce(pg_get_userbyid(d.datdba), ''), coalesce(d.datallowconn, false)
		FROM (SELECT $1::text AS name) n
		LEFT JOIN pg_roles r ON r.rolname = n.name
		LEFT JOIN pg_database d ON d.datname = n.name`, name).Scan(
		&s.role.exists, &s.role.comment, &s.role.login,
		&s.database.exists, &s.database.comment, &s.database.owner, &s.database.open)
	if err != nil {
		return state{}, classify(fmt.Errorf("look for role and database %s: %w", name, err))
	}
	return s, nil
}

// check returns ErrForeign unless what there is under the name is ours and the subject's. A database's comment can be changed by its
// owner, so one owned by our role of its name is ours whatever it says; so is an unmarked one of the control role beside such a
// role, which is what a crash between creating and marking leaves.
func (c *Cluster) check(name, subject string, s state) error {
	if s.role.exists && s.role.comment != c.mark(subject) {
		return provision.ErrForeign.WithCause(fmt.Errorf("role %s is not ours: its comment is %q", name, s.role.comment))
	}
	d := s.database
	if !d.exists || d.comment == c.mark(subject) {
		return nil
	}
	if s.role.exists && (d.owner == name || d.owner == c.user && d.comment == "") {
		return nil
	}
	return provision.ErrForeign.WithCause(fmt.Errorf("database %s is not ours: it belongs to %s and its comment is %q", name, d.owner, d.comment))
}

// createRole makes a marked role in one transaction, so that no role of ours is ever without its mark. What else is given runs
// in the same transaction.
func (c *Cluster) createRole(ctx context.Context, name, subject, attributes string, also ...string) error {
	err := pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, strings.Join(append([]string{
			"CREATE ROLE " + quoteName(name) + " " + attributes,
			"COMMENT ON ROLE " + quoteName(name) + " IS " + quoteText(c.mark(subject)),
			c.grantSelf(name),
		}, also...), ";\n"), pgx.QueryExecModeSimpleProtocol)
		return err
	})
	if err != nil {
		return classify(fmt.Errorf("create role %s: %w", name, err))
	}
	return nil
}

// grantSelf makes the control role a member of a role that it made, so that it can give databases to it and take them back. From 16
// on CREATEROLE gives only the right to grant it.
func (c *Cluster) grantSelf(role string) string {
	grant := quoteText("GRANT " + quoteName(role) + " TO CURRENT_USER")
	return "DO $$ BEGIN EXECUTE " + grant + " || CASE WHEN current_setting('server_version_num')::int >= 160000 " +
		"THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END; END $$"
}

// grantTenants makes a role one of the tenants', which lets it connect to "postgres". It can't act as the group, nor administer it.
func (c *Cluster) grantTenants(role string) string {
	grant := quoteText("GRANT " + TenantsRole + " TO " + quoteName(role))
	return "DO $$ BEGIN EXECUTE " + grant + " || CASE WHEN current_setting('server_version_num')::int >= 160000 " +
		"THEN ' WITH INHERIT TRUE, SET FALSE' ELSE '' END; END $$"
}

// reassign is SQL that moves all objects of one role in the current database to another. Only a superuser may give an object to a role
// that couldn't have made it there, so for the time being that role may.
func reassign(from, to string) string {
	return "GRANT CREATE ON SCHEMA public TO " + quoteName(to) +
		"; REASSIGN OWNED BY " + quoteName(from) + " TO " + quoteName(to) +
		"; REVOKE CREATE ON SCHEMA public FROM " + quoteName(to)
}
