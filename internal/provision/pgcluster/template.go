package pgcluster

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/secrets"
)

// builderConnections is enough for one installing Odoo.
const builderConnections = 16

// templateOwner is the NOLOGIN role that owns the objects in all templates and no database, so that REASSIGN OWNED in a clone hands over
// objects and nothing else.
func (c *Cluster) templateOwner() string { return "odootmpl_" + c.installation + "_owner" }

func templateSubject(name string) string { return "template/" + name }

// BeginTemplate drops what an attempt before left: half an installation can't be gone on with.
func (c *Cluster) BeginTemplate(ctx context.Context, name string, password secrets.Secret) error {
	if err := c.RemoveTemplate(ctx, name); err != nil {
		return err
	}
	if err := c.ensureTemplateOwner(ctx); err != nil {
		return err
	}
	if err := c.makeEmpty(ctx, name, templateSubject(name), password); err != nil {
		return err
	}
	return c.in(ctx, name, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SET ROLE "+quoteName(name)+"; CREATE EXTENSION IF NOT EXISTS pg_trgm", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return fmt.Errorf("create the trigram extension that Odoo's searches use (PostgreSQL's contrib modules): %w", err)
		}
		return nil
	})
}

func (c *Cluster) ensureTemplateOwner(ctx context.Context) error {
	s, err := c.look(ctx, c.templateOwner())
	if err != nil || s.role.exists {
		return err
	}
	err = c.createRole(ctx, c.templateOwner(), "templates", "NOLOGIN")
	if code := pgCode(err); code == "42710" || code == "23505" { // another build was quicker
		return nil
	}
	return err
}

// SealTemplate ends with the role's removal; a repeat goes on from wherever it was.
func (c *Cluster) SealTemplate(ctx context.Context, name string) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if !s.database.exists {
		return fmt.Errorf("seal template %s: there is no such database", name)
	}
	if err := c.check(name, templateSubject(name), s); err != nil {
		return err
	}
	if s.role.exists && s.database.open { // one that is closed was taken, and only its role is left over
		if err := c.takeTemplate(ctx, name); err != nil {
			return err
		}
	}
	closing := "ALTER DATABASE " + quoteName(name) + " ALLOW_CONNECTIONS false"
	if err := c.exec(ctx, "close template "+name, closing); err != nil {
		return err
	}
	return c.exec(ctx, "drop role "+name, "DROP ROLE IF EXISTS "+quoteName(name))
}

// takeTemplate moves the database to the control role first: REASSIGN OWNED would otherwise give it to the objects' new owner.
func (c *Cluster) takeTemplate(ctx context.Context, name string) error {
	err := c.execTx(ctx, "take template "+name+" from its builder",
		"ALTER ROLE "+quoteName(name)+" NOLOGIN",
		"ALTER DATABASE "+quoteName(name)+" OWNER TO CURRENT_USER")
	if err != nil {
		return err
	}
	return c.in(ctx, name, func(conn *pgx.Conn) error {
		// Frozen and analysed once here, it needn't be in any clone.
		for _, sql := range []string{
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = " + quoteText(name),
			reassign(name, c.templateOwner()),
			"VACUUM (FREEZE, ANALYZE)",
		} {
			if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("seal template %s: %w", name, err)
			}
		}
		return nil
	})
}

// RemoveTemplate drops its spares too.
func (c *Cluster) RemoveTemplate(ctx context.Context, name string) error {
	s, err := c.look(ctx, name)
	if err != nil {
		return err
	}
	if err := c.check(name, templateSubject(name), s); err != nil {
		return err
	}
	if err := c.EnsureSpares(ctx, name, 0); err != nil {
		return err
	}
	return c.drop(ctx, name, s)
}
