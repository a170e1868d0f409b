package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// multipartLogin logs in as the existing front end does.
func (b *bundle) multipartLogin(name string) (token, refresh string) {
	b.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	require.NoError(b.t, form.WriteField("username", name))
	require.NoError(b.t, form.WriteField("password", password))
	require.NoError(b.t, form.Close())
	a := b.do(request{method: http.MethodPost, path: "/api/auth/login", contentType: form.FormDataContentType(), body: body.String()})
	require.Equal(b.t, http.StatusOK, a.Status, "%s", a.Body)
	var got struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Type    string `json:"token_type"`
	}
	a.json(&got)
	require.Equal(b.t, "bearer", got.Type)
	return got.Access, got.Refresh
}

// deliver sends a webhook as the gateway does.
func (b *bundle) deliver(reference string) answer {
	b.t.Helper()
	body := fmt.Sprintf(`{"event":"charge.success","data":{"reference":%q,"status":"success"}}`, reference)
	return b.do(request{
		method: http.MethodPost, path: "/api/payments/webhook", contentType: "application/json", body: body,
		header: http.Header{"X-Paystack-Signature": {sign([]byte(body))}},
	})
}

// eventually polls until ok says so; the engine works in the background.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, 15*time.Second, 20*time.Millisecond)
}

// The sign-up, payment, list and detail pages of the existing front end, call by call (contract, section 16).
func TestReplayOfTheExistingFrontEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()

	// /signup
	a := b.post("/api/auth/register", "", `{"email":"ada@example.com","username":"ada","password":"`+password+`","full_name":"Ada Lovelace"}`)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	token, refresh := b.multipartLogin("ada")
	a = b.post("/api/clients", token, `{"name":"acme","domain":"acme.yourdomain.com","email":"ada@example.com","plan":"business"}`)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
	created := a.object()
	require.Equal(t, []any{"acme", "acme.localhost", "business", "pending", "pending"},
		[]any{created["name"], created["domain"], created["plan"], created["status"], created["payment_status"]})
	first := b.initialize(token, `{"plan":"business","billing_cycle":"monthly"}`)

	// /payment: a second checkout is opened, and only that one is paid
	var list []map[string]any
	b.get("/api/clients", token).json(&list)
	require.Equal(t, "ada@example.com", list[0]["email"])
	second := b.initialize(token, `{"plan":"business","billing_cycle":"monthly"}`)
	require.NotEqual(t, first, second)
	b.gateway.pay(second)
	a = b.deliver(second)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, map[string]any{"status": "success"}, a.object())
	eventually(t, func() bool { return b.get("/api/clients/acme", token).object()["status"] == "active" })

	// / and /clients
	a = b.get("/api/clients?limit=5", token)
	require.Equal(t, "1", a.Header.Get("X-Total-Count"))
	a.json(&list)
	require.Len(t, list, 1)
	require.Equal(t, map[string]any{
		"total_clients": 1.0, "active_clients": 1.0, "suspended_clients": 0.0, "total_disk_usage_mb": 0.0, "avg_memory_usage_percent": 0.0,
	}, b.get("/api/clients/stats", token).object())

	// /clients/acme
	detail := b.get("/api/clients/acme", token).object()
	require.Equal(t, []any{"active", "success", second, "4g", "2g", 2.0, 1.0, 8069.0, false, "odoo_acme", "odoo_acme"}, []any{
		detail["status"], detail["payment_status"], detail["payment_reference"], detail["memory_limit"], detail["db_memory_limit"],
		detail["cpu_limit"], detail["db_cpu_limit"], detail["odoo_port"], detail["redis_enabled"], detail["db_name"], detail["db_user"],
	})
	require.NotContains(t, detail, "db_password")
	require.Equal(t, []any{}, detail["custom_domains"])
	for _, at := range []string{"created_at", "activated_at", "updated_at"} {
		require.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`, detail[at])
	}

	// payments, and the session's refresh as old clients send it
	require.Equal(t, "success", b.get("/api/payments/verify/"+second, token).object()["status"])
	require.Equal(t, "pending", b.get("/api/payments/verify/"+first, token).object()["status"])
	var history []map[string]any
	b.get("/api/payments/history", token).json(&history)
	require.Len(t, history, 2)
	require.Equal(t, []any{second, 45000.0, 4500000.0, "NGN", "success", "business", "monthly"}, []any{
		history[0]["reference"], history[0]["amount"], history[0]["amount_kobo"], history[0]["currency"], history[0]["payment_status"],
		history[0]["plan"], history[0]["billing_cycle"],
	})
	a = b.do(request{method: http.MethodPost, path: "/api/auth/refresh?refresh_token=" + url.QueryEscape(refresh)})
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.NotEqual(t, refresh, a.object()["refresh_token"])
	require.NotContains(t, b.log.String(), refresh, "a token in a query isn't logged")
	require.NotContains(t, b.log.String(), password)
}

func TestLoginInEveryForm(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("ada")
	b.multipartLogin("ada")
	form := url.Values{"username": {"Ada@Example.com"}, "password": {password}, "grant_type": {"password"}, "scope": {""}, "client_id": {"x"}}
	a := b.do(request{method: http.MethodPost, path: "/api/auth/login", contentType: "application/x-www-form-urlencoded", body: form.Encode()})
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	a = b.post("/api/auth/login", "", `{"username":"ADA","password":"`+password+`"}`)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	a = b.post("/api/auth/login", "", `{"username":"ada","password":"Wrong-Horse1!"}`)
	require.Equal(t, http.StatusUnauthorized, a.Status)
	require.Equal(t, "Incorrect username or password", a.detail())
	require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
	b.forgetLimits()
	require.NoError(t, b.accounts.SetDisabled(t.Context(), "ada", true))
	a = b.post("/api/auth/login", "", `{"username":"ada","password":"`+password+`"}`)
	require.Equal(t, http.StatusForbidden, a.Status)
	require.Equal(t, "User account is disabled", a.detail())
}

func TestRegisterTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("ada")
	a := b.post("/api/auth/register", "", `{"email":"other@example.com","username":"ADA","password":"`+password+`"}`)
	require.Equal(t, http.StatusBadRequest, a.Status)
	require.Equal(t, "User already exists", a.detail())
	a = b.post("/api/auth/register", "", `{"email":"nonsense","username":"x","password":"weak"}`)
	require.Equal(t, http.StatusUnprocessableEntity, a.Status)
	var problem struct {
		Errors []struct {
			Field string `json:"field"`
		} `json:"errors"`
	}
	a.json(&problem)
	var fields []string
	for _, f := range problem.Errors {
		fields = append(fields, f.Field)
	}
	require.ElementsMatch(t, []string{"email", "username", "password"}, fields)
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	require.Equal(t, http.StatusOK, b.post("/api/auth/logout", token, "").Status)
	a := b.get("/api/auth/me", token)
	require.Equal(t, http.StatusUnauthorized, a.Status)
	require.Equal(t, "Could not validate credentials", a.detail())
	old := b.login("ada")
	a = b.post("/api/auth/password", old, `{"current_password":"`+password+`","new_password":"Other-Horse2!"}`)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, http.StatusUnauthorized, b.get("/api/auth/me", old).Status)
	fresh, _ := a.object()["access_token"].(string)
	require.Equal(t, "ada", b.get("/api/auth/me", fresh).object()["username"])
}

func TestCredentialsOnceThenReset(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	token := b.user("ada")
	b.client(token, "acme")
	require.Equal(t, http.StatusConflict, b.get("/api/clients/acme/credentials", token).Status)
	reference := b.initialize(token, `{"plan":"basic"}`)
	b.gateway.pay(reference)
	require.Equal(t, "success", b.get("/api/payments/verify/"+reference, token).object()["status"])
	eventually(t, func() bool { return b.get("/api/clients/acme", token).object()["status"] == "active" })

	a := b.do(request{method: http.MethodHead, path: "/api/clients/acme/credentials", token: token})
	require.Equal(t, http.StatusMethodNotAllowed, a.Status, "it would use up the password unseen")
	require.Equal(t, http.MethodGet, a.Header.Get("Allow"))
	a = b.get("/api/clients/acme/credentials", token)
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	require.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	first := a.object()
	require.Equal(t, []any{"ada@example.com", "http://acme.localhost:8080"}, []any{first["login"], first["url"]})
	require.Equal(t, http.StatusGone, b.get("/api/clients/acme/credentials", token).Status)

	a = b.post("/api/clients/acme/reset-admin-password", b.admin(), "")
	require.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
	second := b.get("/api/clients/acme/credentials", token).object()
	require.NotEqual(t, first["password"], second["password"])
	for _, secret := range []any{first["password"], second["password"]} {
		require.NotContains(t, b.log.String(), secret)
	}
}

func TestProgressForOwnerAndAdmin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, admin := b.user("ada"), b.admin()
	b.client(token, "acme")
	require.Nil(t, b.get("/api/clients/acme", token).object()["progress"])
	_, err := b.pool.Exec(t.Context(), `INSERT INTO operations (kind, subject, state, step, step_index, attempt, error, error_detail)
		SELECT 'tenant.provision', 'tenant/' || id, 'running', 'activate', 1, 3, 'We are trying again.', 'dial 10.1.2.3: refused' FROM tenants`)
	require.NoError(t, err)
	progress, _ := b.get("/api/clients/acme", token).object()["progress"].(map[string]any)
	require.Regexp(t, `Z$`, progress["since"])
	delete(progress, "since")
	require.Equal(t, map[string]any{
		"operation": "tenant.provision", "state": "running", "step": "activate", "step_number": 2.0, "steps": 2.0, "attempts": 3.0, "error": "We are trying again.",
	}, progress)
	progress, _ = b.get("/api/clients/acme", admin).object()["progress"].(map[string]any)
	require.Equal(t, "dial 10.1.2.3: refused", progress["error_detail"])
}

func TestListPagesAndFilters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ada, bob, admin := b.user("ada"), b.user("bob"), b.admin()
	require.Equal(t, "[]", string(b.get("/api/clients", ada).Body), "a bare array, also when empty")
	for _, name := range []string{"one", "two", "three"} {
		b.client(ada, name)
	}
	b.client(bob, "four")
	names := func(a answer) (out []string) {
		var list []struct {
			Name string `json:"name"`
		}
		a.json(&list)
		for _, c := range list {
			out = append(out, c.Name)
		}
		return out
	}
	a := b.get("/api/clients?limit=2&status=pending", ada)
	require.Equal(t, []string{"one", "two"}, names(a))
	require.Equal(t, "3", a.Header.Get("X-Total-Count"))
	require.Equal(t, `<https://api.example.com/api/clients?limit=2&skip=2&status=pending>; rel="next"`, a.Header.Get("Link"))
	a = b.get("/api/clients?limit=2&skip=2", ada)
	require.Equal(t, []string{"three"}, names(a))
	require.Empty(t, a.Header.Get("Link"))
	require.Equal(t, []string{"one", "two", "three", "four"}, names(b.get("/api/clients", admin)))
	require.Empty(t, names(b.get("/api/clients?status=active", ada)))
	var pending []map[string]any
	b.get("/api/clients/pending", admin).json(&pending)
	require.Len(t, pending, 4)
	require.Equal(t, false, pending[0]["is_expired"])
	var plans []map[string]any
	b.get("/api/plans", "").json(&plans)
	require.Equal(t, []any{"basic", 15000.0, 144000.0, "2g"}, []any{plans[0]["id"], plans[0]["price_monthly"], plans[0]["price_annual"], plans[0]["memory_limit"]})
}

func TestWebhook(t *testing.T) {
	t.Parallel()
	b := setup(t)
	body := `{"event":"something.new","data":{}}`
	send := func(body, signature string) answer {
		return b.do(request{
			method: http.MethodPost, path: "/api/payments/webhook", contentType: "application/json", body: body,
			header: http.Header{"X-Paystack-Signature": {signature}},
		})
	}
	require.Equal(t, http.StatusUnauthorized, send(body, "").Status)
	require.Equal(t, http.StatusUnauthorized, send(body, sign([]byte(body+" "))).Status)
	require.Equal(t, 0, b.count("payment_events"))
	require.Equal(t, http.StatusOK, send(body, sign([]byte(body))).Status)
	require.Equal(t, http.StatusOK, send(body, sign([]byte(body))).Status)
	require.Equal(t, 1, b.count("payment_events"))
	huge := strings.Repeat(" ", 1_000_001)
	require.Equal(t, http.StatusRequestEntityTooLarge, send(huge, sign([]byte(huge))).Status)
}

func TestWebhookWithoutDatabase(t *testing.T) {
	t.Parallel()
	a := setupWithoutDatabase(t).deliver("ODOO-000000000000")
	require.Equal(t, http.StatusServiceUnavailable, a.Status, "%s", a.Body)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
}

func TestCallbackPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	token := b.user("ada")
	b.client(token, "acme")
	reference := b.initialize(token, `{"plan":"basic"}`)
	for _, unknown := range []string{"", "?reference=ODOO-000000000000", "?reference=%3Cscript%3E"} {
		a := b.get("/payment/callback"+unknown, "")
		require.Equal(t, http.StatusNotFound, a.Status, unknown)
		require.NotContains(t, string(a.Body), "<script>")
	}
	a := b.get("/payment/callback?trxref="+reference+"&reference="+reference, "")
	require.Equal(t, http.StatusOK, a.Status)
	require.Contains(t, string(a.Body), "Waiting for the payment")
	require.Contains(t, string(a.Body), "http-equiv=\"refresh\"")
	require.NotContains(t, string(a.Body), "acme", "the page names nobody before it is paid")
	require.Equal(t, http.StatusOK, b.get("/payment/callback.js", "").Status)
	require.Equal(t, http.StatusOK, b.get("/payment/callback.css", "").Status)

	b.gateway.pay(reference)
	require.Equal(t, http.StatusOK, b.deliver(reference).Status)
	var last map[string]any
	eventually(t, func() bool {
		last = b.get("/api/payments/progress/"+reference, "").object()
		return last["done"] == true
	})
	require.Equal(t, []any{"active", "success", "http://acme.localhost:8080"}, []any{last["status"], last["payment_status"], last["url"]})
	a = b.get("/payment/callback?reference="+reference, "")
	require.Contains(t, string(a.Body), `href="http://acme.localhost:8080"`)
	require.NotContains(t, string(a.Body), "http-equiv=\"refresh\"")
}

func TestInitializeTexts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	b.client(token, "acme")
	for body, want := range map[string]int{
		`{"plan":"basic","client_name":"acme","billing_cycle":"annual"}`:     http.StatusOK,
		`{"plan":"basic","billing_cycle":null,"client_name":null}`:           http.StatusOK,
		`{"plan":"gold","client_name":"acme"}`:                               http.StatusBadRequest,
		`{"plan":"basic","client_name":"nobodys"}`:                           http.StatusNotFound,
		`{"plan":"business","client_name":"acme"}`:                           http.StatusConflict,
		`{"plan":"business"}`:                                                http.StatusUnprocessableEntity,
		`{"plan":"basic","client_name":"acme","billing_cycle":"weekly"}`:     http.StatusUnprocessableEntity,
		`{"plan":"basic","client_name":"acme","amount":1,"amount_kobo":"x"}`: http.StatusOK,
	} {
		a := b.post("/api/payments/initialize", token, body)
		require.Equal(t, want, a.Status, "%s: %s", body, a.Body)
		if want != http.StatusOK {
			require.NotEmpty(t, a.detail())
		}
	}
	var history []struct {
		Amount int    `json:"amount"`
		Cycle  string `json:"billing_cycle"`
	}
	require.NoError(t, json.Unmarshal(b.get("/api/payments/history", token).Body, &history))
	for _, p := range history {
		require.Equal(t, map[string]int{"monthly": 15000, "annual": 144000}[p.Cycle], p.Amount)
	}
}
