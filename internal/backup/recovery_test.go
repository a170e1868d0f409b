package backup_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/postgres"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/secrets"
	"controlplane/migrations"
)

// The platform's database is lost, and with it all that knows of backups: bucket and key give it back. docs/recovery.md tells how, and this
// does it.
func TestRecovery_OfThePlatformsDatabase(t *testing.T) {
	t.Parallel()
	o, s := openOffice(t), openStrongroom(t)
	id := o.client("acme", "basic")
	o.take(id, backup.Daily)
	o.done()

	lost := o.pool.Config().ConnConfig
	engine, image := backuptest.Engine(t), serverImage(t, o)
	server, err := pgtools.New(pgtools.Options{Host: lost.Host, Port: int(lost.Port), SSLMode: "disable", Image: image, Tools: engine})
	require.NoError(t, err)
	tool := "platform_" + secrets.RandomHex(4)
	access := backup.Access{Database: lost.Database, Role: lost.User, Password: secrets.Secret(lost.Password), Tool: tool}
	p := backup.Platform{Vault: s.vault, Zone: time.UTC, Now: time.Now, Dump: func(ctx context.Context, w io.Writer) error { return server.Dump(ctx, access, w) }}
	require.NoError(t, p.Take(t.Context()), "the role that the platform runs as can read all of it")

	list, err := s.vault.List(t.Context(), backup.PlatformOwner)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "out")
	_, err = s.vault.Fetch(t.Context(), list[0].Name, dir)
	require.NoError(t, err)

	fresh := freshDatabase(t)
	dump, err := os.Open(filepath.Join(dir, "database.dump"))
	require.NoError(t, err)
	defer func() { require.NoError(t, dump.Close()) }()
	restore := strings.Fields(backuptest.Drill(t, "The platform's database", "sh", `"$MIGRATE_DATABASE_URL"`, fresh, "/root/platform", dir))
	last := len(restore) - 1
	require.Equal(t, dump.Name(), restore[last], "which it is given another way")
	require.NoError(t, engine.RunTool(t.Context(), tool, "0", image, restore[:last], dump, io.Discard))

	pool, err := postgres.Open(t.Context(), fresh, postgres.Options{})
	require.NoError(t, err)
	defer pool.Close()
	pending, err := postgres.Pending(t.Context(), pool, migrations.FS)
	require.NoError(t, err)
	require.Zero(t, pending)
	var name, prefix string
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT t.name, b.key_prefix FROM backups b JOIN tenants t ON t.id = b.tenant_id").Scan(&name, &prefix))
	require.Equal(t, "acme", name)
	require.True(t, strings.HasPrefix(prefix, "clients/acme/"))
}

// serverImage has the programs of the test server's version.
func serverImage(t *testing.T, o *office) string {
	t.Helper()
	var version string
	require.NoError(t, o.pool.QueryRow(t.Context(), "SHOW server_version_num").Scan(&version))
	n, err := strconv.Atoi(version)
	require.NoError(t, err)
	return backuptest.Image(strconv.Itoa(n / 10000))
}

// freshDatabase makes an empty database, which goes with the test, and returns its URL as the superuser.
func freshDatabase(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(pgtest.ServerURL(t))
	require.NoError(t, err)
	name := "recovered_" + secrets.RandomHex(4)
	run := func(ctx context.Context, sql string) {
		conn, err := pgx.Connect(ctx, pgtest.ServerURL(t))
		require.NoError(t, err)
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, sql)
		require.NoError(t, err)
	}
	run(t.Context(), "CREATE DATABASE "+name)
	t.Cleanup(func() { run(context.Background(), fmt.Sprintf("DROP DATABASE %s WITH (FORCE)", name)) })
	u.Path = "/" + name
	return u.String()
}
