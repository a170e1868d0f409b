package pgcluster_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/provision"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
)

func TestASealedTemplateIsClosed(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		require.NoError(t, b.SealTemplate(t.Context(), b.template), "a repeat changes nothing")
		_, err := b.try(t.Context(), controlRole, b.server.password, b.template)
		require.ErrorContains(t, err, "not currently accepting connections")
		require.Equal(t, controlRole, value[string](t, b.super, "SELECT datdba::regrole::text FROM pg_database WHERE datname = $1", b.template))
		require.Equal(t, 0, value[int](t, b.super, "SELECT count(*) FROM pg_roles WHERE rolname = $1", b.template), "the builder's role is gone")
		require.False(t, value[bool](t, b.super, "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", "odootmpl_"+b.installation+"_owner"))
	})
}

func TestASealingThatCrashedGoesOn(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		// What a crash leaves between closing the database and dropping the builder's role.
		control := b.login(t, controlRole, b.server.password, "postgres")
		for _, sql := range []string{
			"CREATE ROLE " + b.template + " NOLOGIN",
			"COMMENT ON ROLE " + b.template + " IS 'odoo-hosting " + b.installation + " template/" + b.template + "'",
		} {
			_, err := control.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		require.NoError(t, b.SealTemplate(t.Context(), b.template))
		require.Equal(t, 0, value[int](t, b.super, "SELECT count(*) FROM pg_roles WHERE rolname = $1", b.template))
		require.False(t, value[bool](t, b.super, "SELECT datallowconn FROM pg_database WHERE datname = $1", b.template))
	})
}

func TestAHalfMadeTemplateIsMadeAnew(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		name := "odootmpl_" + b.installation + "_2"
		require.NoError(t, b.BeginTemplate(t.Context(), name, "first-password"))
		conn := b.login(t, name, "first-password", name)
		_, err := conn.Exec(t.Context(), "CREATE TABLE half (i int)")
		require.NoError(t, err)
		b.makeTemplate(t, name)
		require.NoError(t, b.RemoveTemplate(t.Context(), name))
		require.NoError(t, b.RemoveTemplate(t.Context(), name), "absent is success")
		require.Equal(t, 0, value[int](t, b.super, "SELECT count(*) FROM pg_database WHERE datname = $1", name))
	})
}

func TestSpares(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		count := func() int {
			return value[int](t, b.super, "SELECT count(*) FROM pg_database WHERE datname LIKE $1", "odoospare_"+b.installation+"%")
		}
		require.NoError(t, b.EnsureSpares(t.Context(), b.template, 2))
		require.Equal(t, 2, count())
		tenant := b.provisioned(t, "tenant/1")
		require.Equal(t, 1, count(), "one was taken")
		b.login(t, tenant.Name, tenant.Password, tenant.Name)
		require.NoError(t, b.EnsureTenant(t.Context(), tenant))

		// What a crash leaves: a pair without its last mark.
		_, err := b.super.Exec(t.Context(), "COMMENT ON DATABASE "+value[string](t, b.super,
			"SELECT datname FROM pg_database WHERE datname LIKE $1", "odoospare_"+b.installation+"%")+" IS 'x'")
		require.NoError(t, err)
		plain := b.provisioned(t, "tenant/2")
		b.login(t, plain.Name, plain.Password, plain.Name)
		require.Equal(t, 1, count(), "a broken one isn't taken")
		require.NoError(t, b.EnsureSpares(t.Context(), b.template, 1))
		require.Equal(t, 1, count())
		require.NoError(t, b.RemoveTemplate(t.Context(), b.template))
		require.Equal(t, 0, count())
	})
}

func TestInspect(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		_, err := b.login(t, tenant.Name, tenant.Password, tenant.Name).Exec(t.Context(), "GRANT CONNECT ON DATABASE "+tenant.Name+" TO PUBLIC")
		require.NoError(t, err)
		s, err := b.Inspect(t.Context())
		require.NoError(t, err)
		require.NotContains(t, s.OpenDatabases, tenant.Name, "it is its owner's to open")
		require.GreaterOrEqual(t, s.Version, 150000)
		require.Equal(t, provision.ServerStatus{
			Version: s.Version, CreateDB: true, CreateRole: true, TenantsGroup: true, TempFiles: true, PostgresClosed: true,
			OpenDatabases: s.OpenDatabases, MaxConnections: 197, TenantsConnections: 9,
		}, s)
		open := "open_" + secrets.RandomHex(4)
		_, err = b.super.Exec(t.Context(), "CREATE DATABASE "+open)
		require.NoError(t, err)
		s, err = b.Inspect(t.Context())
		require.NoError(t, err)
		require.Contains(t, s.OpenDatabases, open)
		require.NotContains(t, s.OpenDatabases, "template1")
		require.NoError(t, pgcluster.SetupServer(t.Context(), secrets.Secret(b.server.superuser), pgcluster.SetupParams{CloseDatabases: []string{open}}))
		s, err = b.Inspect(t.Context())
		require.NoError(t, err)
		require.NotContains(t, s.OpenDatabases, open)
		_, err = b.super.Exec(t.Context(), "DROP DATABASE "+open)
		require.NoError(t, err)
	})
}

func TestSetupServerRefusesASuperuserAsControlRole(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		err := pgcluster.SetupServer(t.Context(), secrets.Secret(b.server.superuser), pgcluster.SetupParams{ControlRole: "postgres"})
		require.ErrorContains(t, err, "is a superuser")
	})
}

func TestAServerThatIsDown(t *testing.T) {
	t.Parallel()
	c, err := pgcluster.New(t.Context(), pgcluster.Options{Host: "127.0.0.1", Port: 1, User: controlRole, Password: "hush-hush", Installation: "x"})
	require.NoError(t, err)
	err = c.EnsureTenant(t.Context(), provision.TenantDatabase{Name: "odoo_acme", Subject: "tenant/1"})
	require.ErrorIs(t, err, pgcluster.ErrUnreachable)
	require.Equal(t, errs.Unavailable, errs.KindOf(err))
	require.NotContains(t, err.Error(), "hush-hush")
	require.ErrorIs(t, c.Ping(t.Context()), pgcluster.ErrUnreachable)
}

func TestHBA(t *testing.T) {
	t.Parallel()
	require.Contains(t, pgcluster.HBA(netip.MustParsePrefix("10.212.0.0/16"), "control"), `
host   all                "control"         10.212.0.0/16  reject
host   sameuser,postgres  +odootenants  10.212.0.0/16  scram-sha-256
host   all                all             10.212.0.0/16  reject
`)
}
