package pgcluster_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"controlplane/internal/provision"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
)

func TestACloneIsANewOdoo(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		one, two := b.provisioned(t, "tenant/1"), b.provisioned(t, "tenant/2")
		for _, tenant := range []provision.TenantDatabase{one, two} {
			conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
			require.Equal(t, "https://acme.example.com", value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'web.base.url'"))
			require.Equal(t, "True", value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'web.base.url.freeze'"))
			require.Equal(t, "as it is", value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'kept'"))
			require.Equal(t, "Owner@example.com/$pbkdf2-sha512$hash", value[string](t, conn, "SELECT login || '/' || password FROM res_users WHERE id = 2"))
			require.Equal(t, "owner@example.com", value[string](t, conn, "SELECT email_normalized FROM res_partner WHERE id = 3"))
			require.Equal(t, "acme", value[string](t, conn, "SELECT complete_name FROM res_partner WHERE id = 1"))
			require.Equal(t, 0, value[int](t, conn, "SELECT count(*) FROM ir_cron WHERE nextcall < now() AT TIME ZONE 'utc'"))
			require.Equal(t, 0, value[int](t, conn, "SELECT count(*) FROM discuss_channel WHERE uuid = 'template'"))
			require.Equal(t, 0, value[int](t, conn, `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
				WHERE n.nspname = 'public' AND c.relowner <> $1::regrole`, tenant.Name))
			require.Equal(t, tenant.Name, value[string](t, conn, "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'greet'"))
			require.Equal(t, tenant.Name, value[string](t, conn, "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"))
			require.Equal(t, 9, value[int](t, conn, "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"))
		}
		for _, key := range []string{"database.uuid", "database.secret"} {
			const sql = "SELECT value FROM ir_config_parameter WHERE key = $1"
			first := value[string](t, b.login(t, one.Name, one.Password, one.Name), sql, key)
			second := value[string](t, b.login(t, two.Name, two.Password, two.Name), sql, key)
			require.NotEqual(t, first, second, key)
			require.NotEqual(t, "template", first, key)
		}
	})
}

func TestATenantReachesItsOwnDatabaseAndPostgresOnly(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		mine, other := b.provisioned(t, "tenant/1"), b.provisioned(t, "tenant/2")
		unfinished := b.tenant(t, "tenant/3")
		require.NoError(t, b.EnsureTenant(t.Context(), unfinished))
		for _, database := range []string{other.Name, b.template, "template0", "template1", unfinished.Name} {
			_, err := b.try(t.Context(), mine.Name, mine.Password, database)
			require.Error(t, err, database)
		}
		_, err := b.try(t.Context(), unfinished.Name, unfinished.Password, unfinished.Name)
		require.ErrorContains(t, err, "permission denied for database", "a half-made clone must never start")

		conn := b.login(t, mine.Name, mine.Password, "postgres")
		_, err = conn.Exec(t.Context(), "LISTEN cron_trigger; NOTIFY cron_trigger, 'x'")
		require.NoError(t, err)
		for _, forbidden := range []string{
			"CREATE TABLE t (i int)", "CREATE TABLE public.t (i int)", "CREATE TEMPORARY TABLE t (i int)", "CREATE SCHEMA s",
			"SELECT lo_create(0)", "SELECT lo_from_bytea(0, 'x')", "SELECT lo_creat(-1)", "CREATE DATABASE d", "CREATE ROLE r",
			"SET ROLE " + controlRole, "SET ROLE " + other.Name, "ALTER ROLE " + mine.Name + " CONNECTION LIMIT 100",
			"ALTER ROLE " + other.Name + " PASSWORD 'x'", "GRANT " + pgcluster.TenantsRole + " TO " + other.Name,
			"DROP DATABASE " + other.Name, "ALTER DATABASE " + other.Name + " OWNER TO " + mine.Name,
			"SELECT * FROM pg_authid", "SELECT pg_read_file('/etc/passwd')", "COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_reload_conf()",
		} {
			_, err := conn.Exec(t.Context(), forbidden)
			require.Error(t, err, forbidden)
		}
	})
}

func TestATenantIsMasterInItsOwnDatabase(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		mine := b.provisioned(t, "tenant/1")
		conn := b.login(t, mine.Name, mine.Password, mine.Name)
		for _, needed := range []string{
			"CREATE TABLE own (i int)", "ALTER TABLE res_users ADD COLUMN more int", "CREATE TEMPORARY TABLE tmp (i int)",
			"CREATE SEQUENCE s", "DROP FUNCTION greet()", "CREATE EXTENSION IF NOT EXISTS pg_trgm", "CREATE EXTENSION IF NOT EXISTS unaccent",
		} {
			_, err := conn.Exec(t.Context(), needed)
			require.NoError(t, err, needed)
		}
	})
}

func TestEnsureTenantRepeats(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.tenant(t, "tenant/1")
		for range 2 {
			require.NoError(t, b.EnsureTenant(t.Context(), tenant))
		}
		for range 2 {
			require.NoError(t, b.HandOver(t.Context(), tenant.Name, identity()))
		}
		conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		first := value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'")
		tenant.Password, tenant.ConnectionLimit = "another-password", 7
		require.NoError(t, b.EnsureTenant(t.Context(), tenant))
		require.NoError(t, b.HandOver(t.Context(), tenant.Name, identity()))
		conn = b.login(t, tenant.Name, tenant.Password, tenant.Name)
		require.Equal(t, first, value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'database.uuid'"))
		require.Equal(t, 7, value[int](t, conn, "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"))
	})
}

// TestACrashBetweenTheStatements leaves what a kill at each point leaves, and goes on from there.
func TestACrashBetweenTheStatements(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		control := b.login(t, controlRole, b.server.password, "postgres")
		crashes := map[string][]string{
			"role only": {"DROP DATABASE %[1]s WITH (FORCE)"},
			"created, not yet closed and marked": {
				"COMMENT ON DATABASE %[1]s IS NULL", "GRANT CONNECT, TEMPORARY ON DATABASE %[1]s TO PUBLIC", "ALTER DATABASE %[1]s ALLOW_CONNECTIONS false",
			},
			"closed, not handed over": {},
		}
		for name, statements := range crashes {
			tenant := b.tenant(t, "tenant/7")
			require.NoError(t, b.EnsureTenant(t.Context(), tenant))
			for _, s := range statements {
				_, err := control.Exec(t.Context(), fmt.Sprintf(s, tenant.Name))
				require.NoError(t, err, name)
			}
			require.NoError(t, b.EnsureTenant(t.Context(), tenant), name)
			require.NoError(t, b.HandOver(t.Context(), tenant.Name, identity()), name)
			b.login(t, tenant.Name, tenant.Password, tenant.Name)
			require.NotContains(t, value[string](t, b.super, "SELECT datacl::text FROM pg_database WHERE datname = $1", tenant.Name), "{=", name)
		}
	})
}

func TestWhatIsNotOursIsLeftAlone(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		neighbour := newCluster(t, b.server, "other"+secrets.RandomHex(3))
		theirs := b.provisioned(t, "tenant/1")
		role, database := "odoo_"+secrets.RandomHex(5), "odoo_"+secrets.RandomHex(5)
		for _, sql := range []string{"CREATE ROLE " + role, "CREATE DATABASE " + database, "ALTER DATABASE " + database + " OWNER TO " + controlRole} {
			_, err := b.super.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
		t.Cleanup(func() {
			_, _ = b.super.Exec(context.Background(), "DROP ROLE "+role)
			_, _ = b.super.Exec(context.Background(), "DROP DATABASE "+database)
		})
		for _, name := range []string{role, database, theirs.Name} {
			tenant := provision.TenantDatabase{Name: name, Subject: "tenant/1", Template: b.template, Password: "x", ConnectionLimit: 5}
			require.ErrorIs(t, neighbour.EnsureTenant(t.Context(), tenant), provision.ErrForeign, name)
			require.ErrorIs(t, neighbour.RemoveTenant(t.Context(), name, "tenant/1"), provision.ErrForeign, name)
		}
		again := theirs
		again.Subject = "tenant/2"
		require.ErrorIs(t, b.EnsureTenant(t.Context(), again), provision.ErrForeign, "the name's earlier tenant isn't gone yet")
		require.ErrorIs(t, neighbour.RemoveTemplate(t.Context(), b.template), provision.ErrForeign)
		b.login(t, theirs.Name, theirs.Password, theirs.Name)
	})
}

func TestRemoveTenant(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		_, err := conn.Exec(t.Context(), "COMMENT ON DATABASE "+tenant.Name+" IS 'mine now'")
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, b.RemoveTenant(t.Context(), tenant.Name, tenant.Subject), "with an open connection, and again")
		}
		require.Equal(t, 0, value[int](t, b.super, "SELECT count(*) FROM pg_database WHERE datname = $1", tenant.Name))
		require.Equal(t, 0, value[int](t, b.super, "SELECT count(*) FROM pg_roles WHERE rolname = $1", tenant.Name))
	})
}

func TestSetAdminPasswordRunsNothingAsTheControlRole(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		_, err := conn.Exec(t.Context(), `
			CREATE TABLE seen (who text);
			CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (session_user); RETURN NEW; END$$;
			CREATE TRIGGER spy BEFORE UPDATE ON res_users FOR EACH ROW EXECUTE FUNCTION spy()`)
		require.NoError(t, err)
		login, err := b.SetAdminPassword(t.Context(), tenant, "$pbkdf2-sha512$new")
		require.NoError(t, err)
		require.Equal(t, "Owner@example.com", login)
		require.Equal(t, "$pbkdf2-sha512$new", value[string](t, conn, "SELECT password FROM res_users WHERE id = 2"))
		require.Equal(t, tenant.Name, value[string](t, conn, "SELECT who FROM seen"))
		_, err = conn.Exec(t.Context(), "UPDATE res_users SET active = false")
		require.NoError(t, err)
		_, err = b.SetAdminPassword(t.Context(), tenant, "x")
		require.ErrorIs(t, err, provision.ErrNoAdmin)
	})
}

func TestManyClonesAtOnce(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		require.NoError(t, b.EnsureSpares(t.Context(), b.template, 2))
		var g errgroup.Group
		for i := range 8 {
			tenant := b.tenant(t, fmt.Sprintf("tenant/%d", i))
			g.Go(func() error {
				if err := b.EnsureTenant(t.Context(), tenant); err != nil {
					return err
				}
				return b.HandOver(t.Context(), tenant.Name, identity())
			})
		}
		require.NoError(t, g.Wait())
	})
}

func TestPasswordsAreNotSentInTheClear(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		require.Contains(t, value[string](t, b.super, "SELECT rolpassword FROM pg_authid WHERE rolname = $1", tenant.Name), "SCRAM-SHA-256$4096:")
	})
}

// Odoo's processes learn of it without a restart, whichever way their version is told.
func TestSetBaseURL(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		require.NoError(t, b.SetBaseURL(t.Context(), tenant, "https://erp.example.com"), "an Odoo that was never started")
		_, err := conn.Exec(t.Context(), `
			CREATE TABLE orm_signaling_stable (id serial PRIMARY KEY, date timestamp DEFAULT now());
			CREATE TABLE orm_signaling_registry (id serial PRIMARY KEY, date timestamp DEFAULT now());
			CREATE SEQUENCE base_cache_signaling_default;
			CREATE TABLE seen (who text);
			CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (session_user); RETURN NEW; END$$;
			CREATE TRIGGER spy BEFORE UPDATE ON ir_config_parameter FOR EACH ROW EXECUTE FUNCTION spy();
			DELETE FROM ir_config_parameter WHERE key = 'web.base.url.freeze'`)
		require.NoError(t, err)
		for range 2 {
			require.NoError(t, b.SetBaseURL(t.Context(), tenant, "https://shop.example.com"))
		}
		require.Equal(t, "https://shop.example.com", value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'web.base.url'"))
		require.Equal(t, "True", value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = 'web.base.url.freeze'"))
		require.Equal(t, 2, value[int](t, conn, "SELECT count(*) FROM orm_signaling_stable"))
		require.Equal(t, 0, value[int](t, conn, "SELECT count(*) FROM orm_signaling_registry"), "nothing is to be loaded anew")
		require.Equal(t, 2, value[int](t, conn, "SELECT last_value FROM base_cache_signaling_default"))
		require.Equal(t, tenant.Name, value[string](t, conn, "SELECT DISTINCT who FROM seen"), "never the control role")
	})
}
