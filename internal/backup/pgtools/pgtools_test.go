package pgtools_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/backup/backuptest"
	"controlplane/internal/secrets"
)

func TestSnapshot_IsOneMomentForAll(t *testing.T) {
	t.Parallel()
	odoo := backuptest.NewOdoo(t, "odoo_snap_"+secrets.RandomHex(4))
	engine := backuptest.Engine(t)
	server := odoo.Server(t, engine, odoo.Image())
	before := odoo.Attach(t, "before")
	snapshot, err := server.Snapshot(t.Context(), odoo.Access())
	require.NoError(t, err)
	defer snapshot.Close(t.Context())
	odoo.Attach(t, "after")
	odoo.Exec(t, "INSERT INTO res_partner (name) VALUES ('somebody who came later')")

	described, at, err := snapshot.Describe(t.Context())
	require.NoError(t, err)
	require.False(t, at.IsZero())
	require.NotEmpty(t, described.UUID)
	require.Equal(t, "19.0.1.3", described.OdooVersion)
	require.Equal(t, map[string]string{"base": "19.0.1.3", "web": "19.0.1.0"}, described.Modules)
	require.Greater(t, described.Bytes, int64(1<<20))
	require.Equal(t, map[string]int64{"res_partner": 1000, "ir_attachment": 1, "ir_module_module": 3}, described.Rows)
	require.Contains(t, described.DumpVersion, odoo.Major+".")
	var names []string
	require.NoError(t, snapshot.EachFile(t.Context(), func(name string) error {
		names = append(names, name)
		return nil
	}))
	require.Equal(t, []string{before}, names)
	var dump bytes.Buffer
	require.NoError(t, snapshot.Dump(t.Context(), &dump))
	require.True(t, bytes.HasPrefix(dump.Bytes(), []byte("PGDMP")))
	var text bytes.Buffer
	require.NoError(t, engine.RunTool(t.Context(), odoo.Name+"_text", "42", odoo.Image(), []string{"pg_restore", "--file=-"}, &dump, &text))
	require.Contains(t, text.String(), "a customer of the tenant, number 1000")
	require.NotContains(t, text.String(), "somebody who came later")
}

func TestSnapshot_RefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	odoo := backuptest.NewOdoo(t, "odoo_refused_"+secrets.RandomHex(4))
	engine := backuptest.Engine(t)
	server := odoo.Server(t, engine, odoo.Image())
	wrong := odoo.Access()
	wrong.Password = "wrong"
	_, err := server.Snapshot(t.Context(), wrong)
	require.Error(t, err)
	require.NotErrorIs(t, err, backup.ErrDatabaseUnreachable, "it won't get better")

	other := "18"
	if odoo.Major == other {
		other = "17"
	}
	snapshot, err := odoo.Server(t, engine, backuptest.Image(other)).Snapshot(t.Context(), odoo.Access())
	require.NoError(t, err)
	defer snapshot.Close(t.Context())
	var dump bytes.Buffer
	require.ErrorIs(t, snapshot.Dump(t.Context(), &dump), backup.ErrToolVersion)
	require.Empty(t, dump.Bytes())

	odoo.Exec(t, "DROP TABLE ir_attachment")
	_, err = server.Snapshot(t.Context(), odoo.Access())
	require.ErrorIs(t, err, backup.ErrNotOdoo)
}

func TestRestore_GivesBackWhatWasDumped(t *testing.T) {
	t.Parallel()
	from, to := backuptest.NewOdoo(t, "odoo_from_"+secrets.RandomHex(4)), backuptest.NewOdoo(t, "odoo_to_"+secrets.RandomHex(4))
	engine := backuptest.Engine(t)
	server := from.Server(t, engine, from.Image())
	snapshot, err := server.Snapshot(t.Context(), from.Access())
	require.NoError(t, err)
	defer snapshot.Close(t.Context())
	var dump bytes.Buffer
	require.NoError(t, snapshot.Dump(t.Context(), &dump))
	want, _, err := snapshot.Describe(t.Context())
	require.NoError(t, err)

	require.Error(t, server.Restore(t.Context(), to.Access(), bytes.NewReader(dump.Bytes()), int64(dump.Len())), "it isn't empty")
	to.Exec(t, "DROP TABLE ir_attachment, ir_module_module, ir_config_parameter, res_partner")
	require.ErrorIs(t, server.Restore(t.Context(), to.Access(), bytes.NewReader(dump.Bytes()), 1<<50), backup.ErrNoSpace)
	require.Error(t, server.Restore(t.Context(), to.Access(), bytes.NewReader(dump.Bytes()[:dump.Len()/2]), int64(dump.Len())))
	to.Exec(t, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
	require.NoError(t, server.Restore(t.Context(), to.Access(), bytes.NewReader(dump.Bytes()), int64(dump.Len())))
	copied, err := server.Snapshot(t.Context(), to.Access())
	require.NoError(t, err)
	defer copied.Close(t.Context())
	got, _, err := copied.Describe(t.Context())
	require.NoError(t, err)
	require.Equal(t, want.Rows, got.Rows)
	require.Equal(t, want.UUID, got.UUID)
}
