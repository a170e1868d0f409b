package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

// access is what a route answers to each kind of caller, for a client that belongs to the owner.
type access struct {
	method, path, body             string
	nobody, stranger, owner, admin int
}

const ownersClient = `{"name":"acme","email":"owner@example.com"}`

// accessTable has every route that needs a token; the test below fails for one that is missing.
func accessTable() []access {
	return []access{
		{"POST", "/api/auth/logout", "", 401, 200, 200, 200},
		{"GET", "/api/auth/me", "", 401, 200, 200, 200},
		{"PATCH", "/api/auth/me", `{}`, 401, 200, 200, 200},
		{"POST", "/api/auth/password", `{"current_password":"wrong","new_password":"Other-Horse2!"}`, 401, 422, 422, 422},
		{"GET", "/api/clients", "", 401, 200, 200, 200},
		{"POST", "/api/clients", ownersClient, 401, 409, 409, 409},
		{"GET", "/api/clients/stats", "", 401, 200, 200, 200},
		{"GET", "/api/clients/pending", "", 401, 403, 403, 200},
		{"GET", "/api/clients/acme", "", 401, 404, 200, 200},
		{"PATCH", "/api/clients/acme", `{"email":"new@example.com"}`, 401, 404, 200, 200},
		{"GET", "/api/clients/acme/credentials", "", 401, 404, 409, 403},
		{"POST", "/api/clients/acme/reset-admin-password", "", 401, 404, 409, 409},
		{"POST", "/api/clients/acme/activate", "", 401, 404, 402, 422},
		{"POST", "/api/clients/acme/suspend", "", 401, 404, 409, 409},
		{"POST", "/api/clients/acme/resume", "", 401, 404, 402, 402},
		{"POST", "/api/clients/acme/cancel-delete", "", 401, 404, 400, 400},
		{"POST", "/api/clients/acme/neutralise", "", 401, 404, 409, 409},
		{"POST", "/api/clients/acme/release", `{"confirm":"acme"}`, 401, 404, 409, 409},
		{"GET", "/api/clients/acme/stats", "", 401, 404, 200, 200},
		{"GET", "/api/clients/acme/logs", "", 401, 404, 200, 200},
		{"GET", "/api/clients/acme/activity", "", 401, 404, 200, 200},
		{"GET", "/api/clients/acme/operations", "", 401, 404, 200, 200},
		{"GET", "/api/operations/999", "", 401, 404, 404, 404},
		{"POST", "/api/events/ticket", "", 401, 200, 200, 200},
		{"GET", "/api/events", "", 401, 200, 200, 200},
		{"GET", "/api/clients/acme/events", "", 401, 404, 200, 200},
		{"GET", "/api/clients/acme/domains", "", 401, 404, 200, 200},
		{"POST", "/api/clients/acme/domains?domain=erp.example.com", "", 401, 404, 409, 409}, // it isn't active
		{"POST", "/api/clients/acme/domains/erp.example.com/verify", "", 401, 404, 404, 404},
		{"POST", "/api/clients/acme/domains/erp.example.com/primary", "", 401, 404, 404, 404},
		{"DELETE", "/api/clients/acme/domains/erp.example.com", "", 401, 404, 404, 404},
		{"POST", "/api/clients/acme/backup", "", 401, 404, 409, 409}, // of one that exists: backups_test.go
		{"POST", "/api/clients/acme/import", "", 401, 404, 409, 409}, // it isn't active
		{"GET", "/api/backups", "", 401, 200, 200, 200},
		{"GET", "/api/backups/999", "", 401, 404, 404, 404},
		{"DELETE", "/api/backups/999", "", 401, 404, 404, 404},
		{"POST", "/api/backups/999/verify", "", 401, 404, 404, 404},
		{"POST", "/api/backups/999/keep", "", 401, 404, 404, 404},
		{"POST", "/api/backups/999/restore", "", 401, 404, 404, 404},
		{"GET", "/api/backups/999/download", "", 401, 404, 404, 404},
		{"GET", "/api/system/metrics", "", 401, 403, 403, 200},
		{"POST", "/api/payments/initialize", `{"plan":"basic","client_name":"acme"}`, 401, 404, 200, 404},
		{"GET", "/api/payments/verify/REFERENCE", "", 401, 404, 200, 404},
		{"GET", "/api/payments/history", "", 401, 200, 200, 200},
		{"GET", "/api/invoices", "", 401, 200, 200, 200},
		{"GET", "/api/invoices/INV-2026-000001.pdf", "", 401, 404, 404, 404}, // of one that exists: invoices_test.go
		{"GET", "/api/invoices/INV-2026-000001.json", "", 401, 404, 404, 404},
		{"GET", "/api/billing/profile", "", 401, 200, 200, 200},
		{"PATCH", "/api/billing/profile", `{"name":"Acme Ltd"}`, 401, 200, 200, 200},
		{"GET", "/api/payments/subscription", "", 401, 200, 200, 200},
		{"GET", "/api/payments/subscriptions", "", 401, 200, 200, 200},
		{"POST", "/api/payments/cancel-subscription", "", 401, 404, 404, 404},
		{"POST", "/api/payments/reactivate-subscription", "", 401, 404, 404, 404},
		{"POST", "/api/payments/change-plan", `{"plan":"business","client_name":"acme"}`, 401, 404, 404, 404},
		{"GET", "/api/admin/billing/summary", "", 401, 403, 403, 200},
		{"GET", "/api/admin/subscriptions", "", 401, 403, 403, 200},
		{"GET", "/api/admin/credits", "", 401, 403, 403, 200},
		{"GET", "/api/admin/payments/review", "", 401, 403, 403, 200},
		{"GET", "/api/admin/refunds", "", 401, 403, 403, 200},
		{"POST", "/api/admin/payments/REFERENCE/refunds", `{"reason":"goodwill"}`, 401, 403, 403, 409},
		{"GET", "/api/admin/disputes", "", 401, 403, 403, 200},
		{"POST", "/api/admin/credits/999/keep", `{"note":"x"}`, 401, 403, 403, 404},
		{"GET", "/api/admin/reconciliation", "", 401, 403, 403, 200},
		{"GET", "/api/admin/reconciliation/differences", "", 401, 403, 403, 200},
		{"POST", "/api/admin/reconciliation/differences/999/explain", `{"note":"x"}`, 401, 403, 403, 404},
		{"GET", "/api/admin/operations", "", 401, 403, 403, 200},
		{"GET", "/api/admin/operations/999", "", 401, 403, 403, 404},
		{"POST", "/api/admin/operations/999/retry", "", 401, 403, 403, 404},
		{"POST", "/api/admin/operations/999/abandon", `{"reason":"x"}`, 401, 403, 403, 404},
		{"GET", "/api/admin/audit", "", 401, 403, 403, 200},
		{"GET", "/api/admin/alerts", "", 401, 403, 403, 200},
		{"POST", "/api/admin/alerts/999/resolve", "", 401, 403, 403, 404},
		{"GET", "/api/admin/schedules", "", 401, 403, 403, 200},
		{"PATCH", "/api/admin/schedules/unpaid", `{"enabled":true}`, 401, 403, 403, 200},
		{"POST", "/api/admin/schedules/deletions/run", "", 401, 403, 403, 200},
		{"POST", "/api/clients/acme/schedule-delete?hours_until_deletion=12", "", 401, 404, 200, 200},
		{"POST", "/api/clients/acme/force-delete", "", 401, 403, 403, 200},
		{"DELETE", "/api/clients/acme", "", 401, 403, 403, 404}, // it is gone by now
	}
}

func TestWhoMayUseWhichRoute(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Streams.MaxAge = 2 * time.Second })
	tokens := map[string]string{"owner": b.user("owner"), "stranger": b.user("stranger"), "root1": b.admin()}
	b.client(tokens["owner"], "acme")
	reference := b.initialize(tokens["owner"], `{"plan":"basic"}`)
	for _, route := range accessTable() {
		for caller, want := range map[string]int{"": route.nobody, "stranger": route.stranger, "owner": route.owner, "root1": route.admin} {
			path := strings.Replace(route.path, "REFERENCE", reference, 1)
			r := request{method: route.method, path: path, token: tokens[caller], body: route.body}
			if route.body != "" {
				r.contentType = "application/json"
			}
			a := b.do(r)
			if route.path == "/api/auth/logout" && caller != "" {
				tokens[caller] = b.login(caller)
			}
			require.Equal(t, want, a.Status, "%s %s as %q: %s", route.method, path, caller, a.Body)
			if a.Status >= http.StatusBadRequest {
				require.NotEmpty(t, a.detail())
			}
			if a.Status == http.StatusUnauthorized {
				require.Equal(t, "Not authenticated", a.detail())
				require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
			}
		}
	}
}

func TestAccessTableIsComplete(t *testing.T) {
	t.Parallel()
	covered := map[string]bool{}
	for _, route := range accessTable() {
		path, _, _ := strings.Cut(route.path, "?")
		path = strings.NewReplacer("/acme", "/{name}", "/schedules/unpaid", "/schedules/{name}", "/schedules/deletions", "/schedules/{name}", "/erp.example.com", "/{domain}", "/REFERENCE", "/{reference}", "/INV-2026-000001", "/{number}", "/999", "/{id}").Replace(path)
		covered[route.method+" "+path] = true
	}
	for path, item := range specDocument(t).Paths.Map() {
		for method, op := range item.Operations() {
			if op.Security != nil && path != "/api/cleanup/expired-clients" {
				require.True(t, covered[method+" "+path], "%s %s isn't in the access table", method, path)
			}
		}
	}
}

// forgetLimits is for tests that log in more often than a person may.
func (b *bundle) forgetLimits() {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), "DELETE FROM rate_limits")
	require.NoError(b.t, err)
}

func (b *bundle) initialize(token, body string) (reference string) {
	b.t.Helper()
	a := b.post("/api/payments/initialize", token, body)
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	reference, _ = a.object()["reference"].(string)
	return reference
}

func TestUnknownRoutesAndMethods(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/nothing", "/api", "/api/nothing", "/api//clients", "/docs", "/api/clients/acme/nothing"} {
		a := b.get(path, "")
		require.Equal(t, http.StatusNotFound, a.Status, path)
		require.Equal(t, "Not Found", a.detail())
	}
	a := b.do(request{method: http.MethodPut, path: "/api/clients"})
	require.Equal(t, http.StatusMethodNotAllowed, a.Status)
	require.Equal(t, "Method Not Allowed", a.detail())
	require.Equal(t, []string{"GET", "POST"}, a.Header.Values("Allow"))
	require.Equal(t, http.StatusMethodNotAllowed, b.do(request{method: http.MethodOptions, path: "/api/clients"}).Status)
}

func TestTrailingSlashIsTheSameRoute(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	b.client(token, "acme")
	for _, path := range []string{"/api/health/", "/api/clients/", "/api/clients/acme/", "/api/clients/stats/"} {
		require.Equal(t, http.StatusOK, b.get(path, token).Status, path)
	}
	require.Equal(t, http.StatusNotFound, b.get("/api/clients/acme%2Fstats/", token).Status, "an encoded slash is part of the name")
}

func TestHeadIsGetWithoutBody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.Equal(t, http.StatusOK, b.do(request{method: http.MethodHead, path: "/api/health"}).Status)
}

// A client can't hide a route, nor a route a client: such names are refused, as are look-alikes.
func TestNamesOfRoutesAreReserved(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	for _, name := range []string{"stats", "pending", "new", "ａｃｍｅ", "аcme", "xn--acme", "a_b"} {
		a := b.post("/api/clients", token, `{"name":"`+name+`","email":"a@example.com"}`)
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, name)
	}
}
