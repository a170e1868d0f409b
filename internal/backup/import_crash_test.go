package backup_test

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/backup"
	"controlplane/internal/ops"
	"controlplane/internal/ops/opstest"
	"controlplane/internal/postgres/pgtest"
)

func TestImport_SurvivesRepeatsAndCrashesAtEachStep(t *testing.T) {
	t.Parallel()
	for name, prove := range map[string]func(*testing.T, *pgxpool.Pool, func(*testing.T) ops.Workflow, any, string, func(*testing.T)){
		"repeat": opstest.Repeat, "crash": opstest.CrashEach,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := build(t).open().accepted()
			prove(t, u.pool, func(*testing.T) ops.Workflow { return u.again() }, u.input, u.backup.ID.Subject(), func(t *testing.T) {
				t.Helper()
				b, err := u.backups.Get(t.Context(), u.backup.ID)
				require.NoError(t, err)
				require.True(t, b.Good())
				require.Equal(t, 1, u.count("operations WHERE kind = 'tenant.restore'"), "a restore is asked for once")
				require.ElementsMatch(t, []string{"dump", "filestore", "manifest"}, u.parts())
				require.Zero(t, u.scratch.left())
				require.Equal(t, 1000, u.odoo.Partners(t), "the client's own is as it was")
				u.idle()
			})
		})
	}
}

// accepted is an upload that was taken in, and that nobody has worked on.
type accepted struct {
	*counter

	backup backup.Backup
	input  json.RawMessage
	script []byte // as it is stored
}

func (c *counter) accepted() *accepted {
	c.Helper()
	opstest.Stop(c.T, c.jobs)
	u := &accepted{counter: c}
	var err error
	u.backup, err = c.bring(odooZip(c.T, "19.0", foreign("19.0.1.3", "theirs"), "theirs"))
	require.NoError(c, err)
	require.NoError(c, c.pool.QueryRow(c.Context(), "SELECT input FROM operations WHERE id = $1", u.backup.OperationID).Scan(&u.input))
	stored, err := c.store.Get(c.Context(), u.key())
	require.NoError(c, err)
	defer func() { require.NoError(c, stored.Close()) }()
	u.script, err = io.ReadAll(stored)
	require.NoError(c, err)
	return u
}

func (u *accepted) key() string { return u.backup.KeyPrefix + "upload.sql.zst.age" }

// again puts everything back to where it was when the upload had been taken in, but for what was stored of it since.
func (u *accepted) again() ops.Workflow {
	u.Helper()
	pgtest.AsOwner(u.T, u.pool, `DELETE FROM river_job; DELETE FROM operations;
		UPDATE backups SET state = 'queued', manifest = NULL, started_at = NULL, finished_at = NULL, verified_at = NULL, error = NULL`)
	require.NoError(u, u.store.Put(u.Context(), u.key(), bytes.NewReader(u.script), int64(len(u.script))))
	importer, err := backup.NewImporter(u.worker(), u.scratch, u.odoo.Server(u.T, u.engine, u.odoo.Image()))
	require.NoError(u, err)
	return importer.ImportWorkflow()
}

// parts are what the backup consists of, without the attempts' own names.
func (u *accepted) parts() (names []string) {
	u.Helper()
	require.NoError(u, u.store.List(u.Context(), u.backup.KeyPrefix, func(o backup.Object) error {
		name := strings.TrimPrefix(o.Key, u.backup.KeyPrefix)
		for _, part := range []string{"dump", "filestore", "manifest"} {
			if strings.Contains(name, part) {
				name = part
			}
		}
		names = append(names, name)
		return nil
	}))
	return names
}
