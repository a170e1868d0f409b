package api_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/alerts"
	"controlplane/internal/api"
	"controlplane/internal/tenants"
)

func (b *bundle) list(path, token string) (list []map[string]any, a answer) {
	b.t.Helper()
	a = b.get(path, token)
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	a.json(&list)
	return list, a
}

func TestOperationsOfAClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, stranger, admin := b.user("ada"), b.user("bob"), b.admin()
	b.live(owner, "acme")
	b.requireDone(b.act(owner, "acme", "suspend"))
	list, a := b.list("/api/clients/acme/operations?limit=1", owner)
	require.Equal(t, "2", a.Header.Get("X-Total-Count"))
	require.Equal(t, `<https://api.example.com/api/clients/acme/operations?limit=1&skip=1>; rel="next"`, a.Header.Get("Link"))
	require.Len(t, list, 1)
	require.Equal(t, []any{"tenant.suspend", "done", "acme"}, []any{list[0]["kind"], list[0]["state"], list[0]["client_name"]})
	list, _ = b.list("/api/clients/acme/operations?skip=1", owner)
	require.Equal(t, "tenant.provision", list[0]["kind"])

	path := fmt.Sprintf("/api/operations/%.0f", list[0]["id"])
	require.NotEmpty(t, b.get(path, owner).object()["events"])
	require.Equal(t, http.StatusNotFound, b.get(path, stranger).Status)
	require.Equal(t, http.StatusOK, b.get(path, admin).Status)
	for _, id := range []string{"0", "-1", "x", "%00", "1e3", "99999999999999999999"} {
		require.Equal(t, http.StatusNotFound, b.get("/api/operations/"+id, owner).Status, id)
	}
	var template int64 // an operation that is about no client
	require.NoError(t, b.pool.QueryRow(t.Context(), `INSERT INTO operations (kind, subject, state, step) VALUES ('x', 'template/1', 'running', 'a') RETURNING id`).Scan(&template))
	require.Equal(t, http.StatusNotFound, b.get(fmt.Sprint("/api/operations/", template), owner).Status)
	require.Equal(t, http.StatusOK, b.get(fmt.Sprint("/api/operations/", template), admin).Status)
}

func TestAnOperationIsAbandoned(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransitionWait = 1 })
	b.gateOf(tenants.SuspendKind)
	b.work()
	owner, admin := b.user("ada"), b.admin()
	b.live(owner, "acme")
	operation, _ := b.act(owner, "acme", "suspend").object()["operation"].(map[string]any)
	path := fmt.Sprintf("/api/admin/operations/%.0f/abandon", operation["id"])
	require.Equal(t, http.StatusUnprocessableEntity, b.post(path, admin, "").Status)
	require.Equal(t, http.StatusUnprocessableEntity, b.post(path, admin, `{"reason":""}`).Status)
	a := b.post(path, admin, `{"reason":"it hangs"}`)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "abandoned", a.object()["state"])
	require.Contains(t, a.object()["error_detail"], "root1: it hangs")
	require.Equal(t, http.StatusConflict, b.post(path, admin, `{"reason":"again"}`).Status)
	list, _ := b.list("/api/admin/audit?action=operation.&limit=1", admin)
	require.Equal(t, []any{"operation.abandon", "root1", "acme"}, []any{list[0]["action"], list[0]["actor"], list[0]["client_name"]})
}

// A restore that has begun to swap is ended or undone by itself, and isn't left as it is.
func TestARestoreIsNotAbandonedHalfWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := b.admin()
	var id int64
	require.NoError(t, b.pool.QueryRow(t.Context(), `INSERT INTO operations (kind, subject, state, step) VALUES ('tenant.restore', 'tenant/999', 'held', 'swap') RETURNING id`).Scan(&id))
	path := fmt.Sprintf("/api/admin/operations/%d/abandon", id)
	a := b.post(path, admin, `{"reason":"it hangs"}`)
	require.Equal(t, http.StatusConflict, a.Status)
	require.Equal(t, "restore_half_way", a.object()["code"])
	require.Equal(t, "held", b.get(fmt.Sprint("/api/operations/", id), admin).object()["state"])
	_, err := b.pool.Exec(t.Context(), "UPDATE operations SET step = 'load' WHERE id = $1", id)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, b.post(path, admin, `{"reason":"it hangs"}`).Status)
}

func TestActivity(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, stranger, admin := b.user("ada"), b.user("bob"), b.admin()
	b.live(owner, "acme")
	b.requireDone(b.do(request{method: http.MethodPost, path: "/api/clients/acme/suspend", token: owner, from: "203.0.113.9:1234"}))
	b.requireDone(b.act(admin, "acme", "resume"))

	list, _ := b.list("/api/clients/acme/activity", owner)
	require.Equal(t, "client.resume", list[0]["action"])
	require.NotEqual(t, "root1", list[0]["actor"], "staff has no names")
	require.Nil(t, list[0]["ip"])
	require.Equal(t, []any{"client.suspend", "ada", "203.0.113.9"}, []any{list[1]["action"], list[1]["actor"], list[1]["ip"]})
	require.NotContains(t, list[0], "account_id")
	first, a := b.list("/api/clients/acme/activity?limit=1", owner)
	require.Equal(t, fmt.Sprintf(`<https://api.example.com/api/clients/acme/activity?before=%.0f&limit=1>; rel="next"`, first[0]["id"]), a.Header.Get("Link"))
	second, _ := b.list(fmt.Sprintf("/api/clients/acme/activity?before=%.0f&limit=1", first[0]["id"]), owner)
	require.Equal(t, list[1]["id"], second[0]["id"])
	require.Equal(t, http.StatusNotFound, b.get("/api/clients/acme/activity", stranger).Status)

	all, _ := b.list("/api/admin/audit?action=client.&actor=root1", admin)
	require.Len(t, all, 1)
	require.Equal(t, []any{"client.resume", "acme"}, []any{all[0]["action"], all[0]["client_name"]})
	none, _ := b.list("/api/admin/audit?since=2100-01-01T00:00:00Z", admin)
	require.Empty(t, none)
	none, _ = b.list("/api/admin/audit?until=2000-01-01T00:00:00%2B01:00", admin)
	require.Empty(t, none)
	for _, q := range []string{
		"before=0", "before=x", "limit=0", "limit=501", "account_id=-1", "client_id=x", "since=yesterday", "until=%00", "since=2026-13-01T00:00:00Z",
		"since=99999-01-01T00:00:00Z", "actor=%ff", "action=%00", "account_id=99999999999999999999",
	} {
		require.Equal(t, http.StatusUnprocessableEntity, b.get("/api/admin/audit?"+q, admin).Status, q)
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := b.admin()
	for range 2 {
		require.NoError(t, alerts.Raise(t.Context(), b.pool, alerts.Alert{Kind: "host.full", Subject: "host", Message: "no disk"}))
	}
	require.NoError(t, alerts.Raise(t.Context(), b.pool, alerts.Alert{Kind: "operation.held", Subject: "tenant/1", Message: "look"}))
	list, _ := b.list("/api/admin/alerts?kind=host.full", admin)
	require.Len(t, list, 1)
	require.Equal(t, []any{"no disk", 2.0, nil}, []any{list[0]["message"], list[0]["count"], list[0]["resolved_at"]})
	path := fmt.Sprintf("/api/admin/alerts/%.0f/resolve", list[0]["id"])
	require.Equal(t, http.StatusOK, b.post(path, admin, "").Status)
	list, _ = b.list("/api/admin/alerts", admin)
	require.Len(t, list, 1)
	list, _ = b.list("/api/admin/alerts?resolved=true", admin)
	require.Equal(t, "host.full", list[0]["kind"])
	entries, _ := b.list("/api/admin/audit?action=alert.", admin)
	require.Len(t, entries, 1)
	for _, id := range []string{"0", "x", "%00", "99999999999999999999"} {
		require.Equal(t, http.StatusNotFound, b.post("/api/admin/alerts/"+id+"/resolve", admin, "").Status, id)
	}
	for _, q := range []string{"limit=0", "limit=501", "before=-1", "resolved=maybe", "kind=%00"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.get("/api/admin/alerts?"+q, admin).Status, q)
	}
}

func TestSchedules(t *testing.T) {
	t.Parallel()
	jobs := &schedules{}
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Schedules = jobs })
	admin := b.admin()
	list, _ := b.list("/api/admin/schedules", admin)
	require.Len(t, list, 2)
	require.Equal(t, []any{"unpaid", "failed", "no", 3.0, 1.5, false}, []any{
		list[1]["name"], list[1]["last_status"], list[1]["last_error"], list[1]["last_done"], list[1]["last_duration_seconds"], list[1]["enabled"],
	})
	require.Equal(t, http.StatusOK, b.patch("/api/admin/schedules/unpaid", admin, `{"cron":"@hourly"}`).Status)
	require.Equal(t, "@hourly", *jobs.changed.Cron)
	require.Nil(t, jobs.changed.Enabled)
	require.Equal(t, http.StatusOK, b.post("/api/admin/schedules/deletions/run", admin, "").Status)
	require.Equal(t, http.StatusAccepted, b.post("/api/admin/schedules/unpaid/run", admin, "").Status)
	require.Equal(t, []string{"deletions", "unpaid"}, jobs.ran)
	require.Equal(t, http.StatusNotFound, b.patch("/api/admin/schedules/nothing", admin, `{}`).Status)
	require.Equal(t, http.StatusNotFound, b.post("/api/admin/schedules/%00/run", admin, "").Status)
	for name, body := range badBodies() {
		b.requireRefused(name, b.patch("/api/admin/schedules/unpaid", admin, body))
	}
	for _, body := range []string{`{"cron":1}`, `{"enabled":"yes"}`, `{"cron":"a\u0000b"}`} {
		b.requireRefused(body, b.patch("/api/admin/schedules/unpaid", admin, body))
	}
}

func TestStatsAndMetrics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, admin := b.user("ada"), b.admin()
	b.live(owner, "acme")
	stats := b.get("/api/clients/acme/stats", owner).object()
	require.Equal(t, []any{42.0, "active", 10240.0}, []any{stats["disk_usage_mb"], stats["status"], stats["disk_quota_mb"]})
	containers, _ := stats["containers"].([]any)
	container, _ := containers[0].(map[string]any)
	require.Equal(t, []any{"abababababab", "odoo_acme", "running", "0.53%", "182.4MiB / 2GiB", "8.91%", "1.45kB / 656B", "17", 1.0}, []any{
		container["container_id"], container["name"], container["status"], container["cpu_percent"], container["memory_usage"],
		container["memory_percent"], container["network_io"], container["pids"], container["cpu_limit"],
	})
	m := b.get("/api/system/metrics", admin).object()
	require.Equal(t, map[string]any{"percent": 12.5, "count": 2.0}, m["cpu"])
	require.Equal(t, map[string]any{"total_gb": 24.0, "used_gb": 6.0, "percent": 25.0}, m["memory"])
	require.Equal(t, map[string]any{"running": 7.0}, m["containers"])
	require.Equal(t, map[string]any{"total": 9.0, "active": 5.0}, m["clients"])

	_, err := b.pool.Exec(t.Context(), `UPDATE tenants SET disk_usage_mb = 1234`)
	require.NoError(t, err)
	b.client(b.user("bob"), "bobs")
	mine, all := b.get("/api/clients/stats", owner).object(), b.get("/api/clients/stats", admin).object()
	require.Equal(t, []any{1.0, 1.0, 0.0, 1234.0}, []any{mine["total_clients"], mine["active_clients"], mine["suspended_clients"], mine["total_disk_usage_mb"]})
	require.Equal(t, []any{2.0, 1.0}, []any{all["total_clients"], all["active_clients"]})
}

func TestWithoutAWorker(t *testing.T) {
	t.Parallel()
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Inspector, d.Metrics = nil, nil })
	owner, stranger, admin := b.user("ada"), b.user("bob"), b.admin()
	b.client(owner, "acme")
	for _, path := range []string{"/api/clients/acme/stats", "/api/clients/acme/logs"} {
		require.Equal(t, http.StatusNotFound, b.get(path, stranger).Status)
		a := b.get(path, owner)
		require.Equal(t, http.StatusServiceUnavailable, a.Status)
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	require.Equal(t, http.StatusServiceUnavailable, b.get("/api/system/metrics", admin).Status)
}

const cleanupPath = "/api/cleanup/expired-clients"

func TestCleanupIsForThoseWithATokenAndAdmins(t *testing.T) {
	t.Parallel()
	sweeper := &cleaner{report: api.CleanupReport{Deleted: 3, UnpaidExpired: 2, ScheduledDeletions: 3, Pending: 1}}
	b := setup(t, func(d *api.Deps, _ *api.Options) { d.Cleaner = sweeper })
	owner, admin := b.user("ada"), b.admin()
	b.client(owner, "acme")
	for _, query := range []string{"", "?admin_token=", "?admin_token=wrong", "?admin_token=%00", "?admin_token=" + cleanupToken + "x"} {
		a := b.do(request{method: http.MethodPost, path: cleanupPath + query})
		require.Contains(t, []int{http.StatusUnauthorized, http.StatusUnprocessableEntity}, a.Status, query)
	}
	b.requireRefusal(b.do(request{method: http.MethodPost, path: cleanupPath}), 401, "Invalid or missing admin token")
	b.requireRefusal(b.do(request{method: http.MethodPost, path: cleanupPath, token: owner}), 403, "Admin access required")
	b.requireRefusal(b.do(request{method: http.MethodPost, path: cleanupPath + "?admin_token=wrong", token: admin}), 401, "Invalid or missing admin token")
	b.requireRefusal(b.do(request{method: http.MethodPost, path: cleanupPath, token: "a.b.c"}), 401, "Could not validate credentials")
	for _, r := range []request{
		{path: cleanupPath + "?admin_token=" + cleanupToken}, {path: cleanupPath, header: http.Header{"X-Admin-Token": {cleanupToken}}}, {path: cleanupPath, token: admin},
	} {
		r.method = http.MethodPost
		a := b.do(r)
		require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
		got := a.object()
		require.Equal(t, []any{true, 3.0, 2.0, 3.0, 1.0}, []any{got["success"], got["deleted"], got["unpaid_expired"], got["scheduled_deletions"], got["pending"]})
	}
	require.Equal(t, []string{"system", "system", "root1"}, sweeper.by, "who asked goes on record")
	id, _ := b.get("/api/clients/acme", owner).object()["id"].(float64)
	sweeper.report = api.CleanupReport{Failures: []api.CleanupFailure{{TenantID: tenants.ID(id), Error: "no"}, {Error: "the gateway is away"}}}
	got := b.do(request{method: http.MethodPost, path: cleanupPath, token: admin}).object()
	require.Equal(t, false, got["success"])
	require.Equal(t, []any{map[string]any{"client_name": "acme", "error": "no"}, map[string]any{"client_name": nil, "error": "the gateway is away"}}, got["failures"])
	require.NotContains(t, b.log.String(), cleanupToken)
}

func TestCleanupWithoutAConfiguredToken(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.CleanupToken = "" })
	for _, query := range []string{"", "?admin_token=", "?admin_token=x"} {
		require.Equal(t, http.StatusUnauthorized, b.do(request{method: http.MethodPost, path: cleanupPath + query}).Status, query)
	}
	require.Equal(t, http.StatusOK, b.do(request{method: http.MethodPost, path: cleanupPath, token: b.admin()}).Status)
}

func TestRatesOfCleanupReadyAndTickets(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Rates.Cleanup, o.Rates.Ready, o.Rates.Tickets = 2, 2, 2 })
	token := b.user("ada")
	for _, r := range []request{
		{method: http.MethodPost, path: cleanupPath + "?admin_token=guess"},
		{method: http.MethodGet, path: "/api/ready"},
		{method: http.MethodPost, path: "/api/events/ticket", token: token},
	} {
		for range 2 {
			require.NotEqual(t, http.StatusTooManyRequests, b.do(r).Status, r.path)
		}
		a := b.do(r)
		require.Equal(t, http.StatusTooManyRequests, a.Status, r.path)
		require.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	r := request{method: http.MethodPost, path: cleanupPath + "?admin_token=" + cleanupToken}
	require.Equal(t, http.StatusTooManyRequests, b.do(r).Status, "the right token isn't found by guessing on")
}

func TestReadyWithoutDatabaseSaysSo(t *testing.T) {
	t.Parallel()
	b := setupWithoutDatabase(t)
	a := b.get("/api/ready", "")
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.Contains(t, a.detail(), "database")
}
