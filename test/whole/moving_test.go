package whole_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// unzipped reads a downloaded backup.
func unzipped(t *testing.T, content string) map[string]string {
	t.Helper()
	in, err := zip.NewReader(strings.NewReader(content), int64(len(content)))
	require.NoError(t, err)
	files := map[string]string{}
	for _, f := range in.File {
		r, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		files[f.Name] = string(text)
	}
	return files
}

// A customer takes a backup along as a file, and is at home where it is brought to: by what a customer can do alone.
func TestMovingOutAndIn(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	from := c.provision("basic")
	login, password := c.credentials(from)
	o := visit(t, from)
	require.Eventually(t, func() bool { _, err := o.login(from, login, password); return err == nil }, activeTimeout, tick)
	const secret = "a contract that moves along"
	file := o.attach("contract.txt", secret)
	o.model("res.partner", "create", []any{map[string]any{"name": "Moving Customer"}}, nil)

	taken := c.call(http.MethodPost, "/api/clients/"+from+"/backup?backup_type=manual", nil, http.StatusAccepted)["backup"].(map[string]any)
	c.completed(taken)
	link := c.call(http.MethodGet, fmt.Sprintf("/api/backups/%.0f/download", taken["id"].(float64)), nil, http.StatusOK)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link["url"].(string), nil)
	require.NoError(t, err)
	status, _, content := c.do(req)
	require.Equal(t, http.StatusOK, status, "%.200s", content)
	files := unzipped(t, content)
	require.Contains(t, files["dump.sql"], "Moving Customer")
	var manifest struct {
		Format  string            `json:"odoo_dump"`
		Major   string            `json:"major_version"`
		Modules map[string]string `json:"modules"`
	}
	require.NoError(t, json.Unmarshal([]byte(files["manifest.json"]), &manifest))
	require.Equal(t, []string{"1", "19.0"}, []string{manifest.Format, manifest.Major})
	require.NotEmpty(t, manifest.Modules["base"])
	kept := false
	for name, text := range files {
		kept = kept || (strings.HasPrefix(name, "filestore/") && text == secret)
	}
	require.True(t, kept, "the attachment is in the filestore")

	to := c.provision("basic")
	req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, shared.API+"/api/clients/"+to+"/import", bytes.NewReader([]byte(content)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/zip")
	req.Header.Set("Authorization", "Bearer "+c.token)
	status, _, text := c.do(req)
	require.Equal(t, http.StatusAccepted, status, text)
	imported := decode(t, text)["backup"].(map[string]any)
	c.completed(imported)
	path := fmt.Sprintf("/api/backups/%.0f", imported["id"].(float64))
	require.Eventually(t, func() bool { return c.call(http.MethodGet, path, nil, http.StatusOK)["proven_at"] != nil }, activeTimeout, tick)
	c.await(to, "active")
	there := visit(t, to)
	require.Eventually(t, func() bool { _, err := there.login(to, login, password); return err == nil }, activeTimeout, tick, "the logins come along")
	require.Equal(t, 1, there.partners("Moving Customer"))
	require.Equal(t, secret, there.content(file))
}

// completed waits for a backup.
func (c *customer) completed(taken map[string]any) {
	c.t.Helper()
	path := fmt.Sprintf("/api/backups/%.0f", taken["id"].(float64))
	var b map[string]any
	require.Eventually(c.t, func() bool {
		b = c.call(http.MethodGet, path, nil, http.StatusOK)
		return b["status"] != "pending"
	}, activeTimeout, tick)
	require.Equal(c.t, "completed", b["status"], "%v", b)
}
