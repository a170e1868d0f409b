package whole_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// prove has a client's newest backup fall due for its weekly trial, in which the schedule restores it into a sandbox and starts Odoo on it.
func (c *customer) prove(path string) {
	c.t.Helper()
	id := filepath.Base(path)
	for _, sql := range []string{
		"UPDATE backups SET started_at = started_at - interval '7 days 1 hour', finished_at = finished_at - interval '7 days 1 hour' WHERE id = $1::bigint",
		"UPDATE schedules SET next_run = now() WHERE name = 'backup_proofs' AND $1 <> ''",
	} {
		_, err := shared.Pool.Exec(c.t.Context(), sql, id)
		require.NoError(c.t, err)
	}
	var b map[string]any
	require.Eventually(c.t, func() bool {
		for _, one := range c.call(http.MethodGet, "/api/backups", nil, http.StatusOK)["backups"].([]any) {
			if b = one.(map[string]any); fmt.Sprintf("%.0f", b["id"].(float64)) == id {
				break
			}
		}
		require.Nil(c.t, b["proof_error"])
		return b["proven_at"] != nil
	}, 3*activeTimeout, tick)
	require.NotNil(c.t, c.call(http.MethodGet, "/api/clients/"+b["client_name"].(string), nil, http.StatusOK)["backup_proven_at"])
	requireNoSandbox(c.t, id)
}

// requireNoSandbox waits until nothing of a backup's sandbox is left.
func requireNoSandbox(t *testing.T, id string) {
	t.Helper()
	require.Eventually(t, func() bool {
		left := mustDocker(t, "ps", "--all", "--quiet", "--filter", "name=odooproof_.*_"+id+"$") +
			mustDocker(t, "volume", "ls", "--quiet", "--filter", "name=odooproof_.*_"+id+"_") +
			mustDocker(t, "network", "ls", "--quiet", "--filter", "name=odooproof_"+installation(t))
		return strings.TrimSpace(left) == ""
	}, activeTimeout, tick)
}

func installation(t *testing.T) (id string) {
	t.Helper()
	require.NoError(t, shared.Pool.QueryRow(t.Context(), "SELECT id FROM installation").Scan(&id))
	return id
}

// damage flips one bit of what the store has of a backup's files, which a look at it finds, and tells of.
func (c *customer) damage(path, prefix string) {
	c.t.Helper()
	dir := filepath.Join(shared.Env["STATE_DIR"], "s3", "data", "odoo-backups", prefix)
	require.NoError(c.t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "filestore.tar.zst.age") {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			content[len(content)/2] ^= 1
			err = os.WriteFile(path, content, 0o600)
		}
		return err
	}))
	_, _, text := c.send(http.MethodPost, path+"/verify", nil)
	require.Equal(c.t, "done", c.operation(decode(c.t, text))["state"], "that it is damaged is an answer")
	require.Equal(c.t, "failed", c.call(http.MethodGet, path, nil, http.StatusOK)["status"])
	var alerts int
	require.NoError(c.t, shared.Pool.QueryRow(c.t.Context(), "SELECT count(*) FROM alerts WHERE kind = 'backup.broken' AND subject = $1 AND resolved_at IS NULL",
		"backup/"+filepath.Base(path)).Scan(&alerts))
	require.Equal(c.t, 1, alerts)
}
