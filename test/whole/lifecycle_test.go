package whole_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// logInAdmin is the administrator that dev seeds.
func logInAdmin(t *testing.T) *customer {
	t.Helper()
	a := &customer{t: t, address: randomAddress(), http: &http.Client{Timeout: time.Minute}}
	body := map[string]any{"username": "platform-admin", "password": shared.Setting("DEV_ADMIN_PASSWORD")}
	a.token = a.call(http.MethodPost, "/api/auth/login", body, http.StatusOK)["access_token"].(string)
	return a
}

// change asks for a transition, which may be done at once or still be going on.
func (c *customer) change(method, path string, body any) map[string]any {
	c.t.Helper()
	status, header, text := c.send(method, path, body)
	require.Contains(c.t, []int{http.StatusOK, http.StatusAccepted}, status, "%s %s: %s", method, path, text)
	got := decode(c.t, text)
	require.EqualValues(c.t, true, got["success"], text)
	require.NotEmpty(c.t, got["message"])
	if status == http.StatusAccepted {
		require.Contains(c.t, header.Get("Location"), "/api/operations/")
	}
	return got
}

// names lists the caller's clients.
func (c *customer) names(query string) []string {
	c.t.Helper()
	status, _, text := c.send(http.MethodGet, "/api/clients"+query, nil)
	require.Equal(c.t, http.StatusOK, status, text)
	var list []struct{ Name string }
	require.NoError(c.t, json.Unmarshal([]byte(text), &list))
	var out []string
	for _, client := range list {
		out = append(out, client.Name)
	}
	return out
}

func isRunning(t *testing.T, name string) bool {
	t.Helper()
	return mustDocker(t, "inspect", "--format", "{{.State.Running}}", "odoo_"+name) == "true"
}

// A client's life after it went live, as its owner sees it.
func TestLifecycle(t *testing.T) {
	t.Parallel()
	c, admin := signUp(t), logInAdmin(t)
	name := c.provision("basic")
	client := "/api/clients/" + name
	login, password := c.credentials(name)
	reachable := func() {
		t.Helper()
		require.Eventually(t, func() bool { _, err := visit(t, name).login(name, login, password); return err == nil }, activeTimeout, tick)
	}
	page := func() (int, string) {
		o := visit(t, name)
		return o.do(o.request(http.MethodGet, "/web/login", nil))
	}
	reachable()

	stats := c.call(http.MethodGet, client+"/stats", nil, http.StatusOK)
	containers := stats["containers"].([]any)
	require.Len(t, containers, 1)
	require.Equal(t, "odoo_"+name, containers[0].(map[string]any)["name"])
	require.Greater(t, containers[0].(map[string]any)["memory_bytes"].(float64), 1e7)
	require.Greater(t, stats["database_bytes"].(float64), 1e7)

	status, _, log := c.send(http.MethodGet, client+"/logs?lines=1000", nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, log, "odoo.modules.loading")
	require.NotContains(t, log, configOf(t, name)["db_password"])

	c.change(http.MethodPost, client+"/suspend", nil)
	c.await(name, "suspended")
	require.False(t, isRunning(t, name))
	status, text := page()
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Contains(t, strings.ToLower(text), "suspended")
	c.change(http.MethodPost, client+"/resume", nil)
	c.await(name, "active")
	reachable()

	got := c.change(http.MethodPost, client+"/schedule-delete?hours_until_deletion=12", nil)
	require.NotEmpty(t, got["deletion_time"])
	require.NotContains(t, c.names(""), name)
	require.Contains(t, c.names("?include_scheduled=true"), name)
	require.Eventually(t, func() bool { return !isRunning(t, name) }, activeTimeout, tick)
	status, _, text = c.send(http.MethodPost, client+"/resume", nil)
	require.GreaterOrEqual(t, status, 400, text)
	c.change(http.MethodPost, client+"/cancel-delete", nil)
	c.await(name, "active")
	reachable()

	status, _, text = admin.send(http.MethodPatch, client, map[string]any{"plan": "enterprise"})
	require.Contains(t, []int{http.StatusOK, http.StatusAccepted}, status, text)
	require.Eventually(t, func() bool {
		return mustDocker(t, "inspect", "--format", "{{.HostConfig.Memory}}", "odoo_"+name) == "8589934592"
	}, activeTimeout, tick, "the bigger plan's memory, without a restart")
	reachable()

	config := configOf(t, name)
	c.change(http.MethodPost, client+"/schedule-delete", nil)
	_, err := shared.Pool.Exec(t.Context(), "UPDATE tenants SET deletion_scheduled_at = now() - interval '1 minute' WHERE name = $1", name)
	require.NoError(t, err)
	status, _, text = c.send(http.MethodPost, "/api/cleanup/expired-clients", nil)
	require.Equal(t, http.StatusForbidden, status, text)
	admin.call(http.MethodPost, "/api/cleanup/expired-clients", nil, http.StatusOK)
	requireGone(t, c, name, config)
	require.Equal(t, name, c.call(http.MethodPost, "/api/clients", map[string]any{"name": name, "email": c.email, "plan": "basic"}, http.StatusCreated)["name"],
		"the name is free again")
}

// An administrator's deletion doesn't wait for anything.
func TestForceDelete(t *testing.T) {
	t.Parallel()
	c, admin := signUp(t), logInAdmin(t)
	name := c.provision("basic")
	config := configOf(t, name)
	status, _, text := c.send(http.MethodPost, "/api/clients/"+name+"/force-delete", nil)
	require.Equal(t, http.StatusForbidden, status, text)
	admin.change(http.MethodPost, "/api/clients/"+name+"/force-delete", map[string]any{"reason": "asked for by its owner"})
	o := visit(t, name)
	status, _ = o.do(o.request(http.MethodGet, "/web/health", nil))
	require.Contains(t, []int{http.StatusGone, http.StatusNotFound}, status, "it is unreachable at once")
	requireGone(t, c, name, config)
}

// requireGone waits until nothing is left of a client but its row.
func requireGone(t *testing.T, c *customer, name string, config map[string]string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, _, _ := c.send(http.MethodGet, "/api/clients/"+name, nil)
		return status == http.StatusNotFound
	}, activeTimeout, tick)
	for _, list := range [][]string{{"ps", "--all"}, {"network", "ls"}, {"volume", "ls"}} {
		require.Empty(t, mustDocker(t, append(list, "--quiet", "--filter", "name="+name)...), list)
	}
	require.Error(t, connectAs(t, config, config["db_name"]))
	require.Error(t, connectAs(t, config, "postgres"))
	var subnets, secrets int
	require.NoError(t, shared.Pool.QueryRow(t.Context(), `SELECT
		(SELECT count(*) FROM tenant_subnets s JOIN tenants t ON t.id = s.tenant_id WHERE t.name = $1),
		(SELECT count(*) FROM tenant_secrets s JOIN tenants t ON t.id = s.tenant_id WHERE t.name = $1)`, name).Scan(&subnets, &secrets))
	require.Zero(t, subnets)
	require.Zero(t, secrets)
}
