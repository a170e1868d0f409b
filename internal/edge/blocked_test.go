package edge_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/tenants"
)

func TestEdge_BlocksTheDatabaseManager(t *testing.T) {
	t.Parallel()
	b := setup(t)
	up := newUpstream(t, says("odoo"), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()
	for _, path := range []string{
		"/web/database", "/web/database/", "/web/database/manager", "/web/database/selector?x=1", "/web/database/list", "/web/database/create",
		"/WEB/Database/Manager", "//web//database//manager", "/web/./database/manager", "/web/x/../database/manager", "/./web/database/backup",
		"/web/%64atabase/manager", "/web%2fdatabase%2Fmanager", "/%77%65%62/database", "/web/%2564atabase/manager", "/web/%252e/database",
		"/web%5cdatabase%5Cmanager", `/web\database\manager`, "/web/database;x=1/manager", "/web;a/database;b/manager", "/web/database%3bx",
		"/web/%2e%2e/web/database/drop", "/fr/web/database/manager", "/fr_FR/web/database/manager", "/web/database/../database/manager",
		"/web/database/../login", "/web/database/%2e%2e/login", "/web/%20database/manager", "/web/database%20/manager",
		"/xmlrpc/db", "/xmlrpc/2/db", "/xmlrpc/2/db/", "/XMLRPC/2/DB", "/xmlrpc//2//db", "/xmlrpc/2/%64b", "/xmlrpc/2/object/../db", "/xmlrpc/1/db",
		"/en/xmlrpc/2/db", "/web./database/manager", "/web/database./manager", "/web/database%2e/manager", "/web/database%20./manager", "/web/.../database",
		"http://acme.example.test/web/database/manager", "http://acme.example.test//web/x/../database",
	} {
		for _, method := range []string{"GET", "POST"} {
			answer := b.raw(method + " " + path + " HTTP/1.1\r\nHost: acme.example.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			require.Contains(t, answer, "HTTP/1.1 404 ", "%s %s", method, path)
		}
	}
	for _, path := range []string{"/web/%00database", "/web/%0d%0adatabase", "/a%25252525252562", "/%zz", "*", "web/database"} {
		answer := b.raw("GET " + path + " HTTP/1.1\r\nHost: acme.example.test\r\nConnection: close\r\n\r\n")
		require.Contains(t, answer, "HTTP/1.1 400 ", path)
	}
	require.Zero(t, up.requests.Load(), "none of it reached Odoo")

	for _, path := range []string{
		"/", "/web", "/web/login", "/web/databases", "/odoo/web-database", "/shop/my/web/database", "/xmlrpc/2/object", "/xmlrpc/2/common", "/xmlrpc/object",
		"/web/content/100%25", "/web/image/1/caf%C3%A9.png", "/web?redirect=/web/database/manager", "/web/assets/1/a;b.js", "/jsonrpc",
	} {
		answer := b.raw("GET " + path + " HTTP/1.1\r\nHost: acme.example.test\r\nConnection: close\r\n\r\n")
		require.Contains(t, answer, "HTTP/1.1 200 ", path)
	}
}

func TestEdge_BlocksTheDatabaseServiceOfJSONRPC(t *testing.T) {
	t.Parallel()
	b := setup(t, behindProxy)
	var got string
	up := newUpstream(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got = string(body)
		}
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.start()
	calls := 0
	post := func(path, body string, headers ...string) int {
		calls++ // each from an address of its own: so many calls from one are too many
		headers = append(headers, "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", calls))
		res := b.do(b.request(http.MethodPost, "http://acme.example.test"+path, strings.NewReader(body),
			append([]string{"Content-Type", "application/json"}, headers...)...))
		return res.status
	}
	call := func(service string) string {
		return fmt.Sprintf(`{"jsonrpc": "2.0", "method": "call", "params": {"service": %s, "method": "list", "args": []}, "id": 1}`, service)
	}
	padding := strings.Repeat(`{"params":[1,2,"service"]},`, 20_000) // half a megabyte

	for name, body := range map[string]string{
		"plain":              call(`"db"`),
		"escaped":            call(`"\u0064\u0062"`),
		"escaped key":        `{"p\u0061rams": {"serv\u0069ce": "db"}}`,
		"all escaped":        `{"\u0070\u0061\u0072\u0061\u006d\u0073":{"\u0073\u0065\u0072\u0076\u0069\u0063\u0065":"\u0064\u0062"}}`,
		"service last":       `{"params": {"args": [{"a": "}"}, "\"", [[]]], "method": "list", "service": "db"}, "id": 1}`,
		"second service":     `{"params": {"service": "object", "service": "db"}}`,
		"second params":      `{"params": {"service": "object"}, "params": {"service": "db"}}`,
		"blanks":             "{\n\t\"params\"\r\n : {\"service\"\n:\n\"db\" } }",
		"far down":           `{"params": {"args": [` + padding + `1], "service": "db"}}`,
		"after a long text":  `{"params": {"args": ["` + strings.Repeat("x", 1<<20) + `"], "service": "db"}}`,
		"behind blanks":      strings.Repeat(" ", 1<<20) + call(`"db"`),
		"followed by blanks": call(`"db"`) + strings.Repeat(" ", 1<<20),
		// Odoo makes its arguments of params by Python's dict(), which takes all of these for objects.
		"pairs":           `{"params": [["service", "db"], ["method", "list"], ["args", []]]}`,
		"pairs of keys":   `{"params": [{"service": 0, "db": 0}, {"method": 0, "list": 0}]}`,
		"escaped pairs":   "{\"p\\u0061rams\" :\n [[\"service\", \"\\u0064b\"]]}",
		"pairs after all": `{"params": {"service": "object"}, "params": [["service", "db"]]}`,
	} {
		got = ""
		require.Equal(t, 404, post("/jsonrpc", body), name)
		require.Empty(t, got, "%s: Odoo got no complete call", name)
	}
	for _, path := range []string{"/jsonrpc/", "//jsonrpc", "/JSONRPC", "/%6asonrpc", "/fr/jsonrpc"} {
		require.Equal(t, 404, post(path, call(`"db"`)), path)
	}
	utf16 := "\x00" + strings.Join(strings.Split(call(`"db"`), ""), "\x00")
	require.Equal(t, 415, post("/jsonrpc", utf16))
	require.Equal(t, 415, post("/jsonrpc", call(`"db"`), "Content-Encoding", "gzip"))
	res := b.do(b.request(http.MethodPost, "http://acme.example.test/jsonrpc", strings.NewReader(call(`"object"`)), "Content-Type", "application/json; charset=utf-16"))
	require.Equal(t, 415, res.status)

	for name, body := range map[string]string{
		"object":          call(`"object"`),
		"common":          call(`"common"`),
		"db as data":      `{"params": {"service": "object", "args": ["db", {"service": "db"}, {"params": {"service": "db"}}]}, "service": "db"}`,
		"db elsewhere":    `{"other": {"service": "db"}, "params": {"method": "db"}}`,
		"quotes in texts": `{"params": {"service": "object", "args": ["\\\"service\": \"db\"", "\\"]}}`,
		"lists elsewhere": `{"args": [["service", "db"]], "params": {"service": "object", "params": [["service", "db"]]}}`,
		"large":           `{"params": {"service": "object", "args": [` + padding + `"db"]}}`,
		"empty":           ``,
	} {
		got = "-"
		require.Equal(t, 200, post("/jsonrpc", body), name)
		require.Equal(t, body, got, name)
	}
}
