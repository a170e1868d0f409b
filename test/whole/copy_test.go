package whole_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// query asks a tenant's database for one value, as the tenant's own role.
func query(t *testing.T, name, sql string) (value string) {
	t.Helper()
	config := configOf(t, name)
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("host=127.0.0.1 port=%s user=%s password=%s dbname=%s sslmode=disable",
		shared.Env["EXTERNAL_DB_PORT"], config["db_user"], config["db_password"], config["db_name"]))
	require.NoError(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	require.NoError(t, conn.QueryRow(t.Context(), sql).Scan(&value))
	return value
}

const (
	lastRuns    = "SELECT coalesce(string_agg(id || ' ' || lastcall, ',' ORDER BY id), '') FROM ir_cron"
	mailServers = "SELECT count(*)::text FROM ir_mail_server WHERE active AND smtp_host = '203.0.113.10'"
)

// A customer makes a new client of a backup: it has the data, an identity of its own, and reaches nobody until it is neutralised.
func TestACopy(t *testing.T) {
	t.Parallel()
	c := signUp(t)
	shop := c.provision("basic")
	login, password := c.credentials(shop)
	o := visit(t, shop)
	require.Eventually(t, func() bool { _, err := o.login(shop, login, password); return err == nil }, activeTimeout, tick)
	file := o.attach("contract.txt", "what the copy has, too")
	o.model("res.partner", "create", []any{map[string]any{"name": "Kept Customer"}}, nil)
	o.model("ir.mail_server", "create", []any{map[string]any{"name": "outside", "smtp_host": "203.0.113.10", "smtp_port": 587}}, nil)
	uuid, secret := parameter(t, shop, "database.uuid"), parameter(t, shop, "database.secret")

	taken := c.call(http.MethodPost, "/api/clients/"+shop+"/backup?backup_type=manual", nil, http.StatusAccepted)["backup"].(map[string]any)
	path := fmt.Sprintf("/api/backups/%.0f", taken["id"].(float64))
	require.Eventually(t, func() bool { return c.call(http.MethodGet, path, nil, http.StatusOK)["status"] == "completed" }, activeTimeout, tick)
	twin := "t" + shop[1:7] + "-copy"
	c.call(http.MethodPost, "/api/clients", map[string]any{"name": twin, "email": c.email, "plan": "basic", "from_backup": taken["id"]}, http.StatusCreated)
	_, page := c.checkout(twin, "basic")
	c.payAt(page)
	detail := c.await(twin, "active")
	require.Equal(t, true, detail["quarantined"], "%v", detail)
	require.Contains(t, detail["quarantine"].(map[string]any)["cause"], "It is a copy of client "+shop)

	copied := visit(t, twin)
	_, err := copied.login(twin, login, password)
	require.NoError(t, err, "its users are the original's")
	require.Equal(t, "what the copy has, too", copied.content(file))
	require.Equal(t, 1, copied.partners("Kept Customer"))
	require.NotEqual(t, uuid, parameter(t, twin, "database.uuid"))
	require.NotEqual(t, secret, parameter(t, twin, "database.secret"))
	require.Contains(t, parameter(t, twin, "web.base.url"), "http://"+twin+".localhost:")
	require.Equal(t, []string{uuid, secret}, []string{parameter(t, shop, "database.uuid"), parameter(t, shop, "database.secret")})
	status, _, text := c.send(http.MethodGet, "/api/clients/"+twin+"/credentials", nil)
	require.Equal(t, http.StatusGone, status, text)

	requireCutOff(t, copied, twin)
	op := c.operation(c.accept("/api/clients/"+twin+"/neutralise", nil))
	require.Equal(t, "done", op["state"], "%v", op)
	detail = c.await(twin, "active")
	require.Equal(t, false, detail["quarantined"])
	require.NotNil(t, detail["neutralised_at"])
	require.Eventually(t, func() bool { _, err := visit(t, twin).login(twin, login, password); return err == nil }, activeTimeout, tick, "it is up again")
	require.Equal(t, "true", strings.ToLower(parameter(t, twin, "database.is_neutralized")))
	require.Equal(t, "0", query(t, twin, mailServers), "switched off for good")
	require.Equal(t, "1", configOf(t, twin)["max_cron_threads"])
	require.Equal(t, "1", query(t, shop, mailServers), "the original goes on")
}

// accept is call for what may be done at once or take its time.
func (c *customer) accept(path string, body any) map[string]any {
	c.t.Helper()
	status, _, text := c.send(http.MethodPost, path, body)
	require.Contains(c.t, []int{http.StatusOK, http.StatusAccepted}, status, "%s: %s", path, text)
	return decode(c.t, text)
}

// requireCutOff wants a copy that runs no jobs, sends no mail and reaches its database alone, over a restart as well.
func requireCutOff(t *testing.T, o *odoo, name string) {
	t.Helper()
	require.Equal(t, "0", configOf(t, name)["max_cron_threads"])
	jobs := query(t, name, lastRuns)
	o.model("ir.cron", "write", []any{o.model("ir.cron", "search", []any{[]any{}}, nil), map[string]any{"nextcall": "2020-01-01 00:00:00"}}, nil)
	require.Equal(t, "1", query(t, name, mailServers), "nothing is switched off")
	mail := o.model("mail.mail", "create", []any{map[string]any{
		"subject": "Twice", "body_html": "<p>Twice</p>", "email_from": "shop@example.com", "email_to": "customer@example.com", "auto_delete": false,
	}}, nil)
	o.model("mail.mail", "send", []any{[]any{mail}}, nil)
	sent := o.model("mail.mail", "read", []any{[]any{mail}, []any{"state"}}, nil).([]any)[0].(map[string]any)
	require.Equal(t, "exception", sent["state"])

	mustDocker(t, "restart", "odoo_"+name)
	address, err := netip.ParseAddr(mustDocker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", "odoo_"+name))
	require.NoError(t, err)
	require.EqualValues(t, 14, address.As4()[3]&15)
	gateway := mustDocker(t, "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", "odoo_"+name)
	require.Equal(t, "open", dial(t, "odoo_"+name, gateway, mustPort(t, shared.Env["EXTERNAL_DB_PORT"])))
	for _, port := range []int{25, 443, 587} {
		require.Equal(t, "ConnectionRefusedError", dial(t, "odoo_"+name, "203.0.113.10", port), "refused at once, by our own host")
	}
	require.Equal(t, "gaierror", dial(t, "odoo_"+name, "example.com", 443), "no name tells anybody anything")
	require.Equal(t, jobs, query(t, name, lastRuns), "no job ran, overdue as they are")
}
