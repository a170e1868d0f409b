package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// badBodies is what no route may swallow, whatever fields it knows.
func badBodies() map[string]string {
	return map[string]string{
		"nothing":          "",
		"blank":            " \n ",
		"half":             `{"name":`,
		"text":             `name=acme`,
		"trailing":         `{"name":"acme","email":"a@example.com","plan":"basic"} {}`,
		"comment":          `{"name":"acme" /* x */}`,
		"array":            `[]`,
		"null":             `null`,
		"string":           `"acme"`,
		"number":           `1e400`,
		"deep array":       strings.Repeat("[", 10_000),
		"deep object":      strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000),
		"deep unknown":     `{"x":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`,
		"twice":            `{"name":"acme","name":"other"}`,
		"not UTF-8":        "{\"name\":\"\xff\xfe\"}",
		"UTF-16":           "\xff\xfe{\x00}\x00",
		"raw NUL":          "{\"name\":\"a\x00b\"}",
		"raw control":      "{\"name\":\"a\x01b\"}",
		"oversized":        `{"name":"` + strings.Repeat("a", 70_000) + `"}`,
		"oversized spaces": strings.Repeat(" ", 70_000) + `{}`,
	}
}

// badValues is put into each text field in turn.
func badValues() map[string]string {
	return map[string]string{
		"number":          `1`,
		"huge number":     `1e400`,
		"long number":     strings.Repeat("9", 5_000),
		"boolean":         `true`,
		"array":           `["acme"]`,
		"object":          `{"a":"b"}`,
		"NUL":             `"a\u0000b"`,
		"control":         `"ab\u001bcd"`,
		"C1 control":      `"ab\u0085cd"`,
		"newline":         `"ab\ncd"`,
		"lone surrogate":  `"ab\ud800cd"`,
		"replacement":     `"ab\ufffdcd"`,
		"zero width":      `"ab\u200bcd"`,
		"bidi":            `"ab\u202ecd"`,
		"Cyrillic":        `"аdmin"`, // the first letter isn't a Latin a
		"mixed scripts":   `"acmе"`,  // the last letter isn't a Latin e
		"very long":       `"` + strings.Repeat("a", 60_000) + `"`,
		"many characters": `"` + strings.Repeat("é", 20_000) + `"`,
		"SQL":             `"a'; DROP TABLE tenants; --"`,
		"path":            `"../../etc/passwd"`,
	}
}

type target struct {
	method, path string
	fields       map[string]string // valid values
}

func targets() []target {
	return []target{
		{"POST", "/api/auth/register", map[string]string{"email": "new@example.com", "username": "newcomer", "password": password}},
		{"POST", "/api/auth/login", map[string]string{"username": "ada", "password": password}},
		{"POST", "/api/auth/refresh", map[string]string{"refresh_token": "x"}},
		{"PATCH", "/api/auth/me", map[string]string{"email": "ada@example.com", "username": "ada"}},
		{"POST", "/api/auth/password", map[string]string{"current_password": "x", "new_password": "y"}},
		{"POST", "/api/clients", map[string]string{"name": "other", "email": "a@example.com", "plan": "basic"}},
		{"PATCH", "/api/clients/acme", map[string]string{"email": "a@example.com", "plan": "basic"}},
		{"POST", "/api/payments/initialize", map[string]string{"plan": "basic", "billing_cycle": "monthly", "client_name": "acme"}},
	}
}

func (tg target) body(field, value string) string {
	var parts []string
	for name, v := range tg.fields {
		if name == field {
			parts = append(parts, `"`+name+`":`+value)
		} else {
			parts = append(parts, `"`+name+`":"`+v+`"`)
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// snapshot is everything that a refused request could have changed.
func (b *bundle) snapshot() (rows string) {
	b.t.Helper()
	const all = `SELECT md5(string_agg(x, '' ORDER BY x)) FROM (
		SELECT (a.*)::text AS x FROM accounts a UNION ALL SELECT (t.*)::text FROM tenants t UNION ALL SELECT (p.*)::text FROM payments p
		UNION ALL SELECT (s.*)::text FROM sessions s UNION ALL SELECT (e.*)::text FROM payment_events e
		UNION ALL SELECT (b.*)::text FROM backups b UNION ALL SELECT (o.*)::text FROM operations o UNION ALL SELECT (l.*)::text FROM backup_links l) AS rows`
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), all).Scan(&rows))
	return rows
}

func (b *bundle) requireRefused(name string, a answer) {
	b.t.Helper()
	require.GreaterOrEqual(b.t, a.Status, 400, "%s: %s", name, a.Body)
	require.Less(b.t, a.Status, 500, "%s: %s", name, a.Body)
	require.NotEmpty(b.t, a.detail(), name)
}

func TestBadBodies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	b.client(token, "acme")
	before := b.snapshot()
	for _, tg := range targets() {
		for name, body := range badBodies() {
			a := b.do(request{method: tg.method, path: tg.path, token: token, contentType: "application/json", body: body})
			b.requireRefused(tg.path+" "+name, a)
		}
		require.Equal(t, before, b.snapshot(), "%s changed something", tg.path)
	}
}

func TestBadValues(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token := b.user("ada")
	b.client(token, "acme")
	before := b.snapshot()
	for _, tg := range targets() {
		for field := range tg.fields {
			for name, value := range badValues() {
				a := b.do(request{method: tg.method, path: tg.path, token: token, contentType: "application/json", body: tg.body(field, value)})
				b.requireRefused(tg.path+" "+field+" "+name, a)
			}
		}
		require.Equal(t, before, b.snapshot(), "%s changed something", tg.path)
	}
}

func TestBadPathsAndQueries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	token, admin := b.user("ada"), b.admin()
	before := b.snapshot()
	for _, path := range []string{
		"/api/clients/%00", "/api/clients/a%00b", "/api/clients/%ff", "/api/clients/%E2%80%8B", "/api/clients/..%2f..%2fetc", "/api/clients/" + strings.Repeat("a", 5000),
		"/api/clients/%27%20OR%201=1--", "/api/clients/acme%00/stats", "/api/payments/verify/%00", "/api/payments/verify/ODOO-0000%00", "/api/payments/progress/%ff",
		"/api/clients?limit=0", "/api/clients?limit=-1", "/api/clients?limit=1001", "/api/clients?limit=99999999999999999999999", "/api/clients?limit=1e3",
		"/api/clients?limit=%00", "/api/clients?limit=one", "/api/clients?skip=-1", "/api/clients?skip=9223372036854775808", "/api/clients?status=nothing",
		"/api/clients?status=%00", "/api/clients?status=%ff", "/api/clients?include_scheduled=maybe", "/api/clients?limit=%zz", "/api/clients?a;b",
		"/api/payments/history?limit=1e400", "/api/payments/history?skip=%F0%9F%92%A9",
	} {
		b.requireRefused(path, b.get(path, token))
	}
	for _, path := range []string{
		"/api/admin/credits?limit=0", "/api/admin/credits?skip=-1", "/api/admin/payments/review?limit=1001", "/api/admin/operations?limit=%00",
		"/api/admin/operations?state=HELD", "/api/admin/operations?state=%00", "/api/admin/operations?state=a%27", "/api/admin/operations/%00",
		"/api/admin/operations/%ff", "/api/admin/operations/-1", "/api/admin/operations/1e3", "/api/admin/operations/99999999999999999999",
	} {
		b.requireRefused(path, b.get(path, admin))
	}
	for _, path := range []string{"/api/auth/refresh?refresh_token=%00", "/api/auth/refresh?refresh_token=%ff", "/api/auth/refresh?refresh_token=x", "/api/auth/refresh"} {
		b.requireRefused(path, b.do(request{method: http.MethodPost, path: path}))
	}
	require.Equal(t, before, b.snapshot())
}

func TestBadForms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.user("ada")
	before := b.snapshot()
	const form, multi = "application/x-www-form-urlencoded", "multipart/form-data; boundary=xx"
	part := func(name, value string) string {
		return "--xx\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + value + "\r\n"
	}
	for name, r := range map[string]struct{ contentType, body string }{
		"empty form":        {form, ""},
		"bad escape":        {form, "username=%zz&password=x"},
		"NUL":               {form, "username=a%00b&password=x"},
		"not UTF-8":         {form, "username=%ff%fe&password=x"},
		"long":              {form, "username=" + strings.Repeat("a", 70_000)},
		"semicolon":         {form, "username=ada;password=x"},
		"no password":       {form, "username=ada"},
		"no boundary":       {"multipart/form-data", part("username", "ada")},
		"unfinished":        {multi, part("username", "ada")},
		"no parts":          {multi, "--xx--\r\n"},
		"NUL in part":       {multi, part("username", "a\x00b") + part("password", "x") + "--xx--\r\n"},
		"oversized part":    {multi, part("username", strings.Repeat("a", 70_000)) + "--xx--\r\n"},
		"many parts":        {multi, strings.Repeat(part("a", ""), 1_100) + "--xx--\r\n"},
		"a file":            {multi, "--xx\r\nContent-Disposition: form-data; name=\"username\"; filename=\"x\"\r\n\r\nada\r\n" + part("password", "x") + "--xx--\r\n"},
		"odd type":          {"text/plain", "username=ada"},
		"unreadable type":   {"multi part; x", "username=ada"},
		"form as JSON":      {"application/json", "username=ada&password=x"},
		"query isn't asked": {form + "; charset=utf-8", "password=x"},
	} {
		a := b.do(request{method: http.MethodPost, path: "/api/auth/login?username=ada&password=" + password, contentType: r.contentType, body: r.body})
		b.requireRefused(name, a)
	}
	require.Equal(t, before, b.snapshot())
}

func TestBadTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, header := range []string{
		"Bearer", "Bearer ", "bearer x", "Basic YWRhOng=", "Bearer a.b.c", "Bearer \x00", "Bearer " + strings.Repeat("x", 20_000),
		"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.", "Token x", "Bearer é", "Bearer x y",
	} {
		a := b.do(request{method: http.MethodGet, path: "/api/clients", header: http.Header{"Authorization": {header}}})
		require.Equal(t, http.StatusUnauthorized, a.Status, header)
		require.Contains(t, []string{"Not authenticated", "Could not validate credentials"}, a.detail())
		require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
	}
	require.Equal(t, http.StatusUnauthorized, b.get("/api/clients?access_token="+b.user("ada"), "").Status)
}

// What a body may not set takes no effect, however it is spelt.
func TestUnknownFieldsTakeNoEffect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.post("/api/auth/register", "", `{"email":"ada@example.com","username":"ada","password":"`+password+`","full_name":null,
		"id":999,"role":"admin","is_superuser":true,"is_admin":true,"admin":true,"is_active":false,"created_at":"1970-01-01T00:00:00Z"}`)
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, false, a.object()["is_superuser"])
	require.Equal(t, true, a.object()["is_active"])
	require.EqualValues(t, 1, a.object()["id"])
	token := b.login("ada")
	require.Equal(t, http.StatusForbidden, b.get("/api/clients/pending", token).Status)

	a = b.post("/api/clients", token, `{"name":"acme","email":"a@example.com","PLAN":"enterprise","Plan":"enterprise","plan_id":"enterprise",
		"status":"active","state":"active","db_password":"mine","db_name":"postgres","account_id":7,"redis_enabled":"yes","payment_status":"success",
		"odoo_port":80,"custom_domains":["x.example.com"],"memory_limit":"64g","id":1e400}`)
	require.Equal(t, http.StatusCreated, a.Status, "%s", a.Body)
	got := a.object()
	require.Equal(t, []any{"basic", "pending", "odoo_acme", "pending", "2g", false}, []any{
		got["plan"], got["status"], got["db_name"], got["payment_status"], got["memory_limit"], got["redis_enabled"],
	})
	require.NotContains(t, string(a.Body), "mine")

	a = b.patch("/api/auth/me", token, `{"is_superuser":true,"role":"admin","full_name":"Ada"}`)
	require.Equal(t, []any{"Ada", false}, []any{a.object()["full_name"], a.object()["is_superuser"]})
	a = b.patch("/api/clients/acme", token, `{"status":"active","name":"other","domain":"x.example.com","account_id":9}`)
	require.Equal(t, []any{"acme", "pending", "acme.localhost"}, []any{a.object()["name"], a.object()["status"], a.object()["domain"]})
	for _, limit := range []string{`"memory_limit":"64g"`, `"db_memory_limit":1`, `"cpu_limit":8`, `"db_cpu_limit":1e400`} {
		a = b.patch("/api/clients/acme", token, "{"+limit+"}")
		require.Equal(t, http.StatusUnprocessableEntity, a.Status, "%s", a.Body)
	}
}
