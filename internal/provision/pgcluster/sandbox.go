package pgcluster

import (
	"context"
	"fmt"

	"controlplane/internal/provision"
	"controlplane/internal/secrets"
)

// BeginSandbox makes an empty database and a role that owns it, in the place of what a sandbox of the subject left.
// Errors: provision.ErrForeign.
func (c *Cluster) BeginSandbox(ctx context.Context, name, subject string, password secrets.Secret) error {
	if err := c.RemoveTenant(ctx, name, subject); err != nil {
		return err
	}
	return c.makeEmpty(ctx, name, subject, password)
}

// SetSandboxPassword gives the role another password; sessions that it has go on.
func (c *Cluster) SetSandboxPassword(ctx context.Context, name, subject string, password secrets.Secret) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if err := c.check(name, subject, s); err != nil {
		return err
	}
	if !s.role.exists {
		return provision.ErrSandboxGone.WithCause(fmt.Errorf("no role %s", name))
	}
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	return c.exec(ctx, "set the password of role "+name, "ALTER ROLE "+quoteName(name)+" PASSWORD "+quoteText(verifier))
}

// makeEmpty makes a role that may log in, and an empty database of its own and of its name.
func (c *Cluster) makeEmpty(ctx context.Context, name, subject string, password secrets.Secret) error {
	verifier, err := scramVerifier(password)
	if err != nil {
		return err
	}
	attributes := fmt.Sprintf("LOGIN CONNECTION LIMIT %d PASSWORD %s", builderConnections, quoteText(verifier))
	if err := c.createRole(ctx, name, subject, attributes, c.grantTenants(name)); err != nil {
		return err
	}
	// As Odoo itself creates a database: C collation makes for more useful indexes. Nobody can connect until it is taken from PUBLIC: one that
	// a crash left open to all would have the next start refuse the whole server.
	create := fmt.Sprintf("CREATE DATABASE %s OWNER %s TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' ALLOW_CONNECTIONS false",
		quoteName(name), quoteName(name))
	if err := c.exec(ctx, "create database "+name, create); err != nil {
		return err
	}
	return c.execTx(ctx, "close database "+name,
		"REVOKE CONNECT, TEMPORARY ON DATABASE "+quoteName(name)+" FROM PUBLIC",
		"COMMENT ON DATABASE "+quoteName(name)+" IS "+quoteText(c.mark(subject)),
		"ALTER DATABASE "+quoteName(name)+" ALLOW_CONNECTIONS true")
}
