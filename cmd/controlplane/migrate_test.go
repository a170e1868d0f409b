package main

import (
	"context"
	"log/slog"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/config"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
)

// roleNames is a database with an owner who is no superuser, and a role that may log in, as an operator makes them.
type roleNames struct{ server, database, owner, lesser string }

const testLogin = "not-a-secret-of-anybody"

func setupRoles(t *testing.T) roleNames {
	t.Helper()
	id := secrets.RandomHex(6)
	r := roleNames{server: pgtest.ServerURL(t), database: "migrate_" + id, owner: "owner_" + id, lesser: "lesser_" + id}
	super := func(sql string) {
		conn, err := pgx.Connect(context.Background(), r.server)
		require.NoError(t, err)
		defer func() { _ = conn.Close(context.Background()) }()
		_, err = conn.Exec(context.Background(), sql)
		require.NoError(t, err, sql)
	}
	super("CREATE ROLE " + r.owner + " LOGIN PASSWORD '" + testLogin + "'")
	require.NoError(t, ensureLogin(t.Context(), r.server, r.lesser, "another password"))
	require.NoError(t, ensureLogin(t.Context(), r.server, r.lesser, testLogin), "again, with another password")
	super("CREATE DATABASE " + r.database + " OWNER " + r.owner)
	t.Cleanup(func() {
		super("DROP DATABASE " + r.database + " WITH (FORCE)")
		super("DROP ROLE " + r.owner)
		super("DROP ROLE " + r.lesser)
	})
	return r
}

func (r roleNames) url(role string) secrets.Secret {
	u, err := url.Parse(r.server)
	if err != nil {
		return ""
	}
	u.User, u.Path = url.UserPassword(role, testLogin), "/"+r.database
	return secrets.Secret(u.String())
}

// An installation of before the two roles ran and migrated as the owner. It goes on with both, whatever it has stored.
func TestMigrate_UpgradesAnInstallationWithOneRole(t *testing.T) {
	t.Parallel()
	r := setupRoles(t)
	log := slog.New(slog.DiscardHandler)
	before := config.Config{Debug: true, Platform: config.Platform{URL: r.url(r.owner)}}
	require.NoError(t, migrate(t.Context(), before, log))
	owner, err := postgres.Open(t.Context(), before.Platform.URL.Reveal(), postgres.Options{MaxConns: 1})
	require.NoError(t, err)
	defer owner.Close()
	_, err = owner.Exec(t.Context(), "INSERT INTO activity_log (actor, action) VALUES ('ada', 'x')")
	require.NoError(t, err)

	after := config.Config{Platform: config.Platform{URL: r.url(r.lesser), MigrateURL: r.url(r.owner)}}
	require.NoError(t, migrate(t.Context(), after, log))
	require.NoError(t, migrate(t.Context(), after, log), "a repeat")
	lesser, err := postgres.Open(t.Context(), after.Platform.URL.Reveal(), postgres.Options{MaxConns: 1})
	require.NoError(t, err)
	defer lesser.Close()
	_, err = lesser.Exec(t.Context(), "INSERT INTO activity_log (actor, action) VALUES ('ada', 'y')")
	require.NoError(t, err)

	p := &platform{domain: &domain{pool: lesser}, log: log}
	require.NoError(t, p.checkRole(t.Context()))
	p.pool = owner
	require.ErrorContains(t, p.checkRole(t.Context()), "it owns activity_log")
	p.cfg.Debug = true
	require.NoError(t, p.checkRole(t.Context()), "with DEBUG it is only said")
}
