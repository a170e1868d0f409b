package pgtools_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup/backuptest"
	"controlplane/internal/secrets"
)

// Credentials of mail servers go, whichever providers' modules are installed; who they are for stays.
func TestEraseCredentials(t *testing.T) {
	t.Parallel()
	o := backuptest.NewOdoo(t, "odoo_erase_"+secrets.RandomHex(4))
	s := o.Server(t, backuptest.Engine(t), o.Image())
	require.NoError(t, s.EraseCredentials(t.Context(), o.Access()), "an Odoo without any")
	o.Exec(t, `
		CREATE TABLE ir_mail_server (id serial PRIMARY KEY, active boolean, smtp_user text, smtp_pass text, smtp_ssl_private_key bytea, smtp_ssl_certificate bytea,
			microsoft_outlook_refresh_token text, microsoft_outlook_access_token_expiration integer);
		CREATE TABLE fetchmail_server (id serial PRIMARY KEY, "user" text, password text);
		CREATE TABLE res_users (id serial PRIMARY KEY, password text);
		INSERT INTO ir_mail_server VALUES (1, true, 'ada', 'secret', 'key', 'certificate', 'token', 7);
		INSERT INTO fetchmail_server VALUES (1, 'ada', 'secret');
		INSERT INTO res_users VALUES (1, 'hash');
		INSERT INTO ir_config_parameter (key, value) VALUES ('database.secret', 'secret')`)
	for range 2 {
		require.NoError(t, s.EraseCredentials(t.Context(), o.Access()))
	}
	o.Exec(t, `DO $$ BEGIN
		ASSERT (SELECT num_nulls(smtp_pass, smtp_ssl_private_key, microsoft_outlook_refresh_token) = 3
			AND num_nonnulls(smtp_user, smtp_ssl_certificate, microsoft_outlook_access_token_expiration) = 3 AND active FROM ir_mail_server), 'ir_mail_server';
		ASSERT (SELECT "user" = 'ada' AND password IS NULL FROM fetchmail_server), 'fetchmail_server';
		ASSERT (SELECT password = 'hash' FROM res_users), 'res_users';
	END $$`)
	require.Len(t, o.Parameter(t, "database.secret"), 36)
	require.Len(t, o.Parameter(t, "database.uuid"), 36)
}
