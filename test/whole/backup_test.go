package whole_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// model calls a method of one of Odoo's models.
func (o *odoo) model(model, method string, args []any, kwargs map[string]any) any {
	o.t.Helper()
	if kwargs == nil {
		kwargs = map[string]any{}
	}
	result, err := o.rpc("/web/dataset/call_kw/"+model+"/"+method, map[string]any{"model": model, "method": method, "args": args, "kwargs": kwargs})
	require.NoError(o.t, err)
	return result
}

// attach stores a file as an attachment and returns its id.
func (o *odoo) attach(name, content string) float64 {
	o.t.Helper()
	id := o.model("ir.attachment", "create", []any{map[string]any{"name": name, "datas": base64.StdEncoding.EncodeToString([]byte(content))}}, nil)
	return id.(float64)
}

// content reads an attachment.
func (o *odoo) content(id float64) string {
	o.t.Helper()
	rows := o.model("ir.attachment", "read", []any{[]any{id}, []any{"datas"}}, nil).([]any)
	text, err := base64.StdEncoding.DecodeString(rows[0].(map[string]any)["datas"].(string))
	require.NoError(o.t, err)
	return string(text)
}

func (o *odoo) partners(name string) int {
	o.t.Helper()
	return int(o.model("res.partner", "search_count", []any{[]any{[]any{"name", "=", name}}}, nil).(float64))
}

// operation waits for what a route's answer speaks of.
func (c *customer) operation(got map[string]any) map[string]any {
	c.t.Helper()
	id := fmt.Sprintf("%.0f", got["operation"].(map[string]any)["id"].(float64))
	var op map[string]any
	require.Eventually(c.t, func() bool {
		op = c.call(http.MethodGet, "/api/operations/"+id, nil, http.StatusOK)
		return op["state"] == "done" || op["state"] == "held" || op["state"] == "abandoned"
	}, activeTimeout, tick, "operation %s", id)
	return op
}

// A customer's data and files are those of the backup again, by what a customer can do alone.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	name := c.provision("basic")
	login, password := c.credentials(name)
	browse := func() *odoo {
		o := visit(t, name)
		require.Eventually(t, func() bool { _, err := o.login(name, login, password); return err == nil }, activeTimeout, tick)
		return o
	}
	o := browse()
	const secret = "what nobody but this customer may ever read"
	file := o.attach("contract.txt", secret)
	o.model("res.partner", "create", []any{map[string]any{"name": "Kept Customer"}}, nil)

	taken := c.call(http.MethodPost, "/api/clients/"+name+"/backup?backup_type=manual", nil, http.StatusAccepted)["backup"].(map[string]any)
	path := fmt.Sprintf("/api/backups/%.0f", taken["id"].(float64))
	var b map[string]any
	require.Eventually(t, func() bool {
		b = c.call(http.MethodGet, path, nil, http.StatusOK)
		return b["status"] != "pending"
	}, activeTimeout, tick)
	require.Equal(t, "completed", b["status"], "%v", b)
	require.NotNil(t, b["verified_at"])
	require.Greater(t, b["files"].(float64), 1.0)
	requireSealed(t, b["s3_key"].(string), secret, "Kept Customer")
	c.prove(path)

	o.model("ir.attachment", "unlink", []any{[]any{file}}, nil)
	o.model("res.partner", "create", []any{map[string]any{"name": "Later Customer"}}, nil)
	require.Equal(t, 1, o.partners("Later Customer"))

	_, _, text := c.send(http.MethodPost, path+"/restore", nil)
	op := c.operation(decode(t, text))
	require.Equal(t, "done", op["state"], "%v", op)
	c.await(name, "active")
	o = browse()
	require.Equal(t, secret, o.content(file))
	require.Equal(t, 1, o.partners("Kept Customer"))
	require.Zero(t, o.partners("Later Customer"))
	require.NotNil(t, c.call(http.MethodGet, path, nil, http.StatusOK)["proven_at"])

	// What was there before the restore was backed up, too.
	list := c.call(http.MethodGet, "/api/backups?client_name="+name, nil, http.StatusOK)["backups"].([]any)
	require.Equal(t, "safety", list[0].(map[string]any)["backup_type"])
	require.Equal(t, "completed", list[0].(map[string]any)["status"])
	c.damage(path, b["s3_key"].(string))
}

// requireSealed looks at what the store has of a backup.
func requireSealed(t *testing.T, prefix string, secrets ...string) {
	t.Helper()
	dir := filepath.Join(shared.Env["STATE_DIR"], "s3", "data", "odoo-backups", prefix)
	found := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		content, err := os.ReadFile(path)
		for _, secret := range secrets {
			require.NotContains(t, string(content), secret, path)
		}
		return err
	}))
	require.Equal(t, 3, found)
}
