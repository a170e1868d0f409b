package pgcluster_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What a tenant has put into its database must not run with our rights, neither when a copy gets its identity nor when its mark is read.
func TestACopyIsAdoptedAsTheTenant(t *testing.T) {
	t.Parallel()
	onEachVersion(t, func(t *testing.T, b *bundle) {
		tenant := b.provisioned(t, "tenant/1")
		conn := b.login(t, tenant.Name, tenant.Password, tenant.Name)
		_, err := conn.Exec(t.Context(), `
			CREATE TABLE seen (who text);
			CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO seen VALUES (session_user); RETURN NEW; END$$;
			CREATE TRIGGER spy BEFORE UPDATE ON ir_config_parameter FOR EACH ROW EXECUTE FUNCTION spy()`)
		require.NoError(t, err)
		parameter := func(key string) string {
			return value[string](t, conn, "SELECT value FROM ir_config_parameter WHERE key = $1", key)
		}
		uuid, secret := parameter("database.uuid"), parameter("database.secret")
		require.NoError(t, b.Adopt(t.Context(), tenant, tenant.Name, "https://copy.example.com"))
		require.NotEqual(t, uuid, parameter("database.uuid"))
		require.NotEqual(t, secret, parameter("database.secret"))
		require.Equal(t, []string{"https://copy.example.com", "True"}, []string{parameter("web.base.url"), parameter("web.base.url.freeze")})
		require.Equal(t, tenant.Name, value[string](t, conn, "SELECT DISTINCT who FROM seen"), "never the control role")

		for mark, want := range map[string]bool{"": false, "false": false, "yes": false, "true": true, "True": true} {
			_, err := conn.Exec(t.Context(), `DELETE FROM ir_config_parameter WHERE key = 'database.is_neutralized'`)
			require.NoError(t, err)
			if mark != "" {
				_, err := conn.Exec(t.Context(), "INSERT INTO ir_config_parameter (key, value) VALUES ('database.is_neutralized', $1)", mark)
				require.NoError(t, err)
			}
			got, err := b.Neutralised(t.Context(), tenant)
			require.NoError(t, err)
			require.Equal(t, want, got, mark)
		}
	})
}
