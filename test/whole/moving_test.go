package whole_test

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
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
	o.model("ir.mail_server", "create", []any{map[string]any{
		"name": "outside", "smtp_host": "203.0.113.10", "smtp_port": 587, "smtp_authentication": "login", "smtp_user": "shop", "smtp_pass": mailPassword,
	}}, nil)

	taken := c.call(http.MethodPost, "/api/clients/"+from+"/backup?backup_type=manual", nil, http.StatusAccepted)["backup"].(map[string]any)
	c.completed(taken)
	download := fmt.Sprintf("/api/backups/%.0f/download", taken["id"].(float64))
	content := c.download(download)
	files := unzipped(t, content)
	require.Contains(t, files["dump.sql"], "Moving Customer")
	require.Contains(t, files["dump.sql"], mailPassword)
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

	// A plain one is brought along in the same way; see the tests of the package that does it.
	to := c.provision("basic")
	c.bring(to, c.neutralised(from, download))
	there := visit(t, to)
	require.Eventually(t, func() bool { _, err := there.login(to, login, password); return err == nil }, activeTimeout, tick, "the logins come along")
	require.Equal(t, 1, there.partners("Moving Customer"))
	require.Equal(t, secret, there.content(file))
	require.Equal(t, "true", strings.ToLower(parameter(t, to, "database.is_neutralized")))
}

const mailPassword = "what the shop's mail server wants to hear"

// neutralised downloads a client's backup in which nothing acts on the world any more.
func (c *customer) neutralised(name, download string) string {
	c.t.Helper()
	got := c.call(http.MethodGet, download+"?neutralised=true", nil, http.StatusAccepted)
	require.Equal(c.t, "done", c.operation(got)["state"])
	content := c.download(download + "?neutralised=true")
	files := unzipped(c.t, content)
	sql := files["dump.sql"]
	require.Contains(c.t, sql, "Moving Customer")
	require.NotContains(c.t, sql, mailPassword)
	require.NotContains(c.t, sql, parameter(c.t, name, "database.secret"))
	marked := false
	for _, p := range rowsOf(c.t, sql, "ir_config_parameter") {
		marked = marked || p["key"] == "database.is_neutralized" && strings.EqualFold(p["value"], "true")
	}
	require.True(c.t, marked)
	servers := rowsOf(c.t, sql, "ir_mail_server")
	require.Len(c.t, servers, 2, "its own, and the one with which Odoo keeps others from being used")
	for _, s := range servers {
		require.Equal(c.t, s["smtp_host"] == "invalid", s["active"] == "t", "%v", s)
		require.Equal(c.t, `\N`, s["smtp_pass"], "%v", s)
	}
	working := 0
	for _, job := range rowsOf(c.t, sql, "ir_cron") {
		if job["active"] == "t" {
			working++
		}
	}
	require.Equal(c.t, 1, working, "but for that which vacuums")
	requireNoSandbox(c.t, path.Base(path.Dir(download)))
	return content
}

// rowsOf reads what a dump holds of a table.
func rowsOf(t *testing.T, sql, table string) (rows []map[string]string) {
	t.Helper()
	_, rest, found := strings.Cut(sql, "\nCOPY public."+table+" (")
	require.True(t, found, table)
	names, rest, _ := strings.Cut(rest, ") FROM stdin;\n")
	columns := strings.Split(names, ", ")
	for line := range strings.Lines(rest) {
		if line == "\\.\n" {
			return rows
		}
		row := map[string]string{}
		for i, value := range strings.Split(strings.TrimSuffix(line, "\n"), "\t") {
			row[columns[i]] = value
		}
		rows = append(rows, row)
	}
	require.Fail(t, "the dump ends within "+table)
	return nil
}

// download asks for a link and follows it, as a browser would.
func (c *customer) download(path string) string {
	c.t.Helper()
	link := c.call(http.MethodGet, path, nil, http.StatusOK)
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, link["url"].(string), nil)
	require.NoError(c.t, err)
	status, _, content := c.do(req)
	require.Equal(c.t, http.StatusOK, status, "%.200s", content)
	return content
}

// bring uploads a zip, and waits until Odoo has answered on what was made of it.
func (c *customer) bring(name, content string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, shared.API+"/api/clients/"+name+"/import", strings.NewReader(content))
	require.NoError(c.t, err)
	req.Header.Set("Content-Type", "application/zip")
	req.Header.Set("Authorization", "Bearer "+c.token)
	status, _, text := c.do(req)
	require.Equal(c.t, http.StatusAccepted, status, text)
	imported := decode(c.t, text)["backup"].(map[string]any)
	c.completed(imported)
	path := fmt.Sprintf("/api/backups/%.0f", imported["id"].(float64))
	require.Eventually(c.t, func() bool { return c.call(http.MethodGet, path, nil, http.StatusOK)["proven_at"] != nil }, activeTimeout, tick)
	c.await(name, "active")
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
