package api_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
	"controlplane/internal/tenants"
)

// live creates a client and pays for it.
func (b *bundle) live(token, name string) {
	b.t.Helper()
	b.client(token, name)
	reference := b.initialize(token, `{"plan":"basic","client_name":"`+name+`"}`)
	b.gateway.pay(reference)
	require.Equal(b.t, http.StatusOK, b.get("/api/payments/verify/"+reference, token).Status)
	eventually(b.t, func() bool { return b.status(token, name) == "active" })
}

func (b *bundle) status(token, name string) any {
	b.t.Helper()
	return b.get("/api/clients/"+name, token).object()["status"]
}

func (b *bundle) act(token, name, what string) answer {
	b.t.Helper()
	return b.do(request{method: http.MethodPost, path: "/api/clients/" + name + "/" + what, token: token})
}

func (b *bundle) requireDone(a answer) map[string]any {
	b.t.Helper()
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(b.t, true, a.object()["success"])
	require.NotEmpty(b.t, a.object()["message"])
	return a.object()
}

func (b *bundle) requireRefusal(a answer, status int, detail string) {
	b.t.Helper()
	require.Equal(b.t, status, a.Status, "%s", a.Body)
	require.Contains(b.t, a.detail(), detail)
}

func TestSuspendAndResume(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, admin := b.user("ada"), b.admin()
	b.live(owner, "acme")
	b.requireRefusal(b.act(owner, "acme", "resume"), 400, "Client is not suspended")

	a := b.act(owner, "acme", "suspend")
	done := b.requireDone(a)
	operation, _ := done["operation"].(map[string]any)
	require.Equal(t, []any{"tenant.suspend", "done", "acme"}, []any{operation["kind"], operation["state"], operation["client_name"]})
	require.NotContains(t, operation, "error_detail")
	require.Equal(t, fmt.Sprintf("https://api.example.com/api/operations/%.0f", operation["id"]), a.Header.Get("Location"))
	require.Equal(t, "suspended", b.status(owner, "acme"))
	detail := b.get("/api/clients/acme", owner).object()
	require.Equal(t, "owner", detail["suspended_by"])
	require.NotNil(t, detail["suspended_at"])
	b.requireRefusal(b.act(owner, "acme", "suspend"), 400, "Client is already suspended")

	b.requireDone(b.act(owner, "acme", "resume"))
	require.Equal(t, "active", b.status(owner, "acme"))

	b.requireDone(b.post("/api/clients/acme/suspend", admin, `{"reason":"sends spam"}`))
	require.Equal(t, "sends spam", b.get("/api/clients/acme", owner).object()["suspend_reason"])
	b.requireRefusal(b.act(owner, "acme", "resume"), 403, "staff")
	b.requireDone(b.act(admin, "acme", "resume"))
	require.Equal(t, "active", b.status(owner, "acme"))
}

func TestATransitionThatTakesLonger(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransitionWait = 30 * time.Millisecond })
	open := b.gateOf(tenants.SuspendKind)
	b.work()
	owner := b.user("ada")
	b.live(owner, "acme")
	a := b.act(owner, "acme", "suspend")
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, true, a.object()["success"])
	require.Contains(t, a.object()["message"], "is being suspended")
	location := strings.TrimPrefix(a.Header.Get("Location"), "https://api.example.com")
	require.Equal(t, "running", b.get(location, owner).object()["state"])
	require.Equal(t, "active", b.status(owner, "acme"), "what hasn't stopped isn't reported as stopped")
	again := b.act(owner, "acme", "suspend")
	require.Equal(t, http.StatusAccepted, again.Status)
	require.Equal(t, a.Header.Get("Location"), again.Header.Get("Location"), "the same work")
	open()
	eventually(t, func() bool { return b.get(location, owner).object()["state"] == "done" })
	require.Equal(t, "suspended", b.status(owner, "acme"))
}

func (b *bundle) gateOf(kind string) (open func()) {
	open = b.worker.gate(kind)
	b.t.Cleanup(open)
	return open
}

func TestATransitionThatIsHeld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.worker.breaks(tenants.SuspendKind, "disk sda1 is full")
	b.work()
	owner, admin := b.user("ada"), b.admin()
	b.live(owner, "acme")
	a := b.act(owner, "acme", "suspend")
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, false, a.object()["success"])
	require.NotContains(t, string(a.Body), "sda1")
	require.Equal(t, "active", b.status(owner, "acme"))
	location := strings.TrimPrefix(a.Header.Get("Location"), "https://api.example.com")
	require.NotContains(t, string(b.get(location, owner).Body), "sda1", "the owner reads no details")
	require.Contains(t, b.get(location, admin).object()["error_detail"], "sda1")
}

func TestScheduledDeletion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, stranger, admin := b.user("ada"), b.user("bob"), b.admin()
	b.live(owner, "acme")
	b.requireRefusal(b.act(owner, "acme", "cancel-delete"), 400, "Client is not scheduled for deletion")
	for _, hours := range []string{"0", "11", "721", "-1", "12.5", "1e2", "x", "%00", "99999999999999999999"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.act(owner, "acme", "schedule-delete?hours_until_deletion="+hours).Status, hours)
	}
	for _, hours := range []string{"0", "721"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.act(admin, "acme", "schedule-delete?hours_until_deletion="+hours).Status, hours)
	}
	require.Equal(t, http.StatusNotFound, b.act(stranger, "acme", "schedule-delete").Status)

	first := b.requireDone(b.act(owner, "acme", "schedule-delete"))
	at, err := time.Parse(time.RFC3339, first["deletion_time"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(12*time.Hour), at, time.Minute)
	require.Equal(t, first["deletion_time"], first["can_cancel_until"])
	second := b.requireDone(b.act(admin, "acme", "schedule-delete?hours_until_deletion=1"))
	require.Equal(t, first["deletion_time"], second["deletion_time"], "scheduling twice keeps the first time")

	require.JSONEq(t, `[]`, string(b.get("/api/clients", owner).Body))
	var list []map[string]any
	b.get("/api/clients?include_scheduled=true", owner).json(&list)
	require.Len(t, list, 1)
	detail := b.get("/api/clients/acme", owner).object()
	require.Equal(t, []any{"scheduled_for_deletion", first["deletion_time"]}, []any{detail["status"], detail["deletion_scheduled_at"]})
	for _, what := range []string{"suspend", "resume"} {
		require.Equal(t, http.StatusConflict, b.act(admin, "acme", what).Status, what)
	}
	b.requireRefusal(b.post("/api/clients/acme/activate", admin, `{"reason":"x"}`), 409, "")
	require.Equal(t, http.StatusNotFound, b.act(stranger, "acme", "cancel-delete").Status)

	b.requireDone(b.act(owner, "acme", "cancel-delete"))
	require.Equal(t, "active", b.status(owner, "acme"))
	b.requireDone(b.act(admin, "acme", "schedule-delete?hours_until_deletion=1"))
	b.requireDone(b.act(admin, "acme", "cancel-delete"))
	require.Equal(t, "active", b.status(owner, "acme"))
}

func TestAPendingClientComesBackUnpaid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner := b.user("ada")
	b.client(owner, "acme")
	deadline := b.get("/api/clients/acme", owner).object()["payment_deadline"]
	require.Nil(t, b.requireDone(b.act(owner, "acme", "schedule-delete"))["operation"])
	b.requireDone(b.act(owner, "acme", "cancel-delete"))
	detail := b.get("/api/clients/acme", owner).object()
	require.Equal(t, []any{"pending", deadline}, []any{detail["status"], detail["payment_deadline"]})
	b.requireRefusal(b.act(owner, "acme", "activate"), 402, "payments/initialize")
	b.requireRefusal(b.act(owner, "acme", "resume"), 402, "")
	require.Equal(t, "pending", b.status(owner, "acme"))
}

func TestActivateByAnAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, admin := b.user("ada"), b.admin()
	b.client(owner, "acme")
	b.requireRefusal(b.act(admin, "acme", "activate"), 422, "reason")
	b.requireDone(b.post("/api/clients/acme/activate", admin, `{"reason":"a gift"}`))
	detail := b.get("/api/clients/acme", owner).object()
	require.Equal(t, []any{"active", "success"}, []any{detail["status"], detail["payment_status"]})
	b.requireDone(b.act(owner, "acme", "activate"))
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	owner, admin := b.user("ada"), b.admin()
	for _, how := range []request{
		{method: http.MethodDelete, path: "/api/clients/acme"},
		{method: http.MethodPost, path: "/api/clients/acme/force-delete", contentType: "application/json", body: `{"reason":"asked for","skip_final_backup":true}`},
		{method: http.MethodDelete, path: "/api/clients/acme?reason=asked&skip_final_backup=true"},
	} {
		b.live(owner, "acme")
		how.token = owner
		b.requireRefusal(b.do(how), 403, "Only administrators can")
		require.Equal(t, "active", b.status(owner, "acme"))
		how.token = admin
		done := b.requireDone(b.do(how))
		operation, _ := done["operation"].(map[string]any)
		require.Equal(t, "tenant.delete", operation["kind"])
		require.Equal(t, http.StatusNotFound, b.get("/api/clients/acme", owner).Status, "the name is free")
		require.Equal(t, http.StatusOK, b.get(fmt.Sprintf("/api/operations/%.0f", operation["id"]), owner).Status, "history stays")
		require.Equal(t, http.StatusNotFound, b.do(how).Status)
	}
	b.client(owner, "acme")
	for _, path := range []string{"/api/clients/acme?skip_final_backup=true", "/api/clients/acme?skip_final_backup=maybe", "/api/clients/acme?reason=" + strings.Repeat("x", 3000), "/api/clients/acme?reason=%00"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.do(request{method: http.MethodDelete, path: path, token: admin}).Status, path)
	}
	require.Nil(t, b.requireDone(b.do(request{method: http.MethodDelete, path: "/api/clients/acme", token: admin}))["operation"])
}

func TestAdminsChangeThePlanOfALiveClient(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.TransitionWait = time.Second })
	open := b.gateOf(tenants.ResizeKind)
	b.work()
	owner, admin := b.user("ada"), b.admin()
	b.live(owner, "acme")
	b.requireRefusal(b.patch("/api/clients/acme", owner, `{"plan":"business"}`), 409, "plan")
	a := b.patch("/api/clients/acme", admin, `{"plan":"business"}`)
	require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	require.Equal(t, []any{"business", "4g"}, []any{a.object()["plan"], a.object()["memory_limit"]})
	location := strings.TrimPrefix(a.Header.Get("Location"), "https://api.example.com")
	require.Equal(t, "tenant.resize", b.get(location, owner).object()["kind"])
	require.Equal(t, "tenant.resize", a.object()["operation"].(map[string]any)["kind"])
	open()
	eventually(t, func() bool { return b.get(location, owner).object()["state"] == "done" })
	require.Equal(t, http.StatusOK, b.patch("/api/clients/acme", admin, `{"plan":"basic"}`).Status)
	require.Equal(t, http.StatusOK, b.patch("/api/clients/acme", admin, `{"plan":"basic"}`).Status)
}

func TestPendingClientsTellWhetherTheyAreLate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, admin := b.user("ada"), b.admin()
	b.client(owner, "acme")
	b.client(owner, "late")
	_, err := b.pool.Exec(t.Context(), `UPDATE tenants SET payment_deadline = now() - interval '1 second' WHERE name = 'late'`)
	require.NoError(t, err)
	var list []map[string]any
	b.get("/api/clients/pending", admin).json(&list)
	require.Len(t, list, 2)
	require.Equal(t, []any{"late", true, "acme", false}, []any{list[0]["name"], list[0]["is_expired"], list[1]["name"], list[1]["is_expired"]})
}

// What the callers of transitions may send wrongly changes nothing.
func TestTransitionsWithBadInput(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, admin := b.user("ada"), b.admin()
	b.client(owner, "acme")
	before := b.snapshot()
	for _, what := range []string{"activate", "suspend", "force-delete"} {
		for name, body := range badBodies() {
			if body == "" {
				continue // means that there is none
			}
			a := b.do(request{method: http.MethodPost, path: "/api/clients/acme/" + what, token: admin, contentType: "application/json", body: body})
			b.requireRefused(what+" "+name, a)
		}
		for _, body := range []string{`{"reason":1}`, `{"reason":"a\u0000b"}`, `{"reason":"` + strings.Repeat("x", 2001) + `"}`, `{"skip_final_backup":"yes"}`, `{"reason":["x"]}`} {
			a := b.do(request{method: http.MethodPost, path: "/api/clients/acme/" + what, token: admin, contentType: "application/json", body: body})
			b.requireRefused(what+" "+body, a)
		}
	}
	for _, name := range []string{"%00", "a%00b", "%ff", "..%2f..%2fetc", strings.Repeat("a", 5000), "ACME", "acme%20"} {
		for _, what := range []string{"activate", "suspend", "resume", "schedule-delete", "cancel-delete", "force-delete"} {
			a := b.do(request{method: http.MethodPost, path: "/api/clients/" + name + "/" + what + "?reason=x", token: admin})
			require.Equal(t, http.StatusNotFound, a.Status, "%s %s", name, what)
		}
	}
	require.Equal(t, before, b.snapshot())
}

func TestSchedule_BoundsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, admin := b.user("ada"), b.admin()
	b.client(owner, "acme")
	for _, hours := range []string{"11", "721", "0", "-1", "12.5", "x", "99999999999999999999"} {
		a := b.post("/api/clients/acme/schedule-delete?hours_until_deletion="+hours, owner, "")
		b.requireRefusal(a, http.StatusUnprocessableEntity, "from 12 to 720")
	}
	a := b.post("/api/clients/acme/schedule-delete?hours_until_deletion=0", admin, "")
	b.requireRefusal(a, http.StatusUnprocessableEntity, "from 1 to 720")
}

// Some proxies announce no length, not even of a body that isn't there.
func TestTransitions_WithoutALength(t *testing.T) {
	t.Parallel()
	b := setup(t)
	admin := b.admin()
	b.client(b.user("ada"), "acme")
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/api/clients/acme/force-delete?reason=fraud", http.NoBody)
	req.Header.Set("Authorization", "Bearer "+admin)
	req.ContentLength, req.Body = -1, io.NopCloser(strings.NewReader(""))
	rec := httptest.NewRecorder()
	b.handler.ServeHTTP(rec, req)
	require.Equal(t, http.StatusOK, rec.Code, "%s", rec.Body)
}
