package api_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/go-chi/chi/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
)

// spec is the OpenAPI description as it is served.
type spec struct{ doc *openapi3.T }

func loadSpec(t *testing.T) *spec {
	t.Helper()
	return &spec{doc: specDocument(t)}
}

func parseSpec(t *testing.T, body []byte) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(body)
	require.NoError(t, err)
	return doc
}

// check validates an answer, and the request too if it was accepted, against the operation that the router chose.
func (s *spec) check(t *testing.T, routes chi.Routes, r *http.Request, body string, a answer) {
	t.Helper()
	rctx := chi.NewRouteContext()
	pattern := routes.Find(rctx, r.Method, tidy(r.URL.EscapedPath()))
	if pattern == "" || r.Method == http.MethodHead { // which is GET's to describe
		return
	}
	path := s.doc.Paths.Find(pattern)
	if path == nil || path.GetOperation(r.Method) == nil {
		require.Contains(t, undocumented(), pattern)
		return
	}
	params := map[string]string{}
	for i, key := range rctx.URLParams.Keys {
		params[key] = rctx.URLParams.Values[i]
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, ExcludeResponseBody: !isJSON(a)},
		Route: &routers.Route{Spec: s.doc, Path: pattern, PathItem: path, Method: r.Method, Operation: path.GetOperation(r.Method)},
	}
	if a.Status < http.StatusBadRequest {
		r.Body = io.NopCloser(strings.NewReader(body))
		require.NoError(t, openapi3filter.ValidateRequest(t.Context(), in), "%s %s: %s", r.Method, r.URL, body)
	}
	out := (&openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.Status, Header: a.Header, Options: in.Options}).SetBodyBytes(a.Body)
	require.NoError(t, openapi3filter.ValidateResponse(t.Context(), out), "%s %s: %s", r.Method, r.URL, a.Body)
}

func isJSON(a answer) bool {
	kind := a.Header.Get("Content-Type")
	return strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "application/problem+json")
}

func tidy(pattern string) string {
	if pattern == "/" {
		return pattern
	}
	return strings.TrimSuffix(pattern, "/")
}

// undocumented are files of our two pages.
func undocumented() []string {
	return []string{"/payment/callback.js", "/payment/callback.css", "/api/docs/{file}"}
}

func TestOpenAPIDescribesExactlyTheRoutes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var routed []string
	err := chi.Walk(b.routes(), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		if method != http.MethodHead && !slices.Contains(undocumented(), route) {
			routed = append(routed, method+" "+route)
		}
		return nil
	})
	require.NoError(t, err)
	var described []string
	for path, item := range b.spec.doc.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	require.ElementsMatch(t, routed, described)
}

func TestOpenAPIIsValidAndServed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.get("/api/openapi.json", "")
	require.Equal(t, http.StatusOK, a.Status)
	doc := parseSpec(t, a.Body)
	require.NoError(t, doc.Validate(t.Context()))
	require.Equal(t, "Odoo Cloud Platform API", doc.Info.Title)
	require.Equal(t, "1.0.0", doc.Info.Version)
}

// A route that asks for a token says so in the description, and the other way round.
func TestOpenAPITellsWhichRoutesNeedAToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, item := range b.spec.doc.Paths.Map() {
		for method, op := range item.Operations() {
			concrete := strings.NewReplacer("{name}", "nobodys", "{reference}", "ODOO-000000000000", "{domain}", "erp.example.com").Replace(path)
			a := b.do(request{method: method, path: concrete})
			needsToken := a.Status == http.StatusUnauthorized && path != "/api/payments/webhook"
			require.Equal(t, op.Security != nil, needsToken, "%s %s answered %d without a token", method, path, a.Status)
			if needsToken {
				require.Equal(t, "Bearer", a.Header.Get("WWW-Authenticate"))
			}
		}
	}
}

func TestDocsPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.get("/api/docs", "")
	require.Equal(t, http.StatusOK, a.Status)
	require.NotContains(t, string(a.Body), "://", "the page works offline")
	require.Contains(t, a.Header.Get("Content-Security-Policy"), "script-src 'self'")
	for _, file := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png", "init.js"} {
		require.Equal(t, http.StatusOK, b.get("/api/docs/"+file, "").Status, file)
	}
	require.Equal(t, http.StatusNotFound, b.get("/api/docs/nothing.js", "").Status)
}

func TestDocsForAdmins(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Docs = api.DocsAdmin })
	admin, user := b.admin(), b.user("ada")
	for _, path := range []string{"/api/docs", "/api/openapi.json", "/api/docs/swagger-ui.css"} {
		a := b.get(path, "")
		require.Equal(t, http.StatusUnauthorized, a.Status, path)
		require.Equal(t, []string{"Bearer", `Basic realm="API documentation", charset="UTF-8"`}, a.Header.Values("WWW-Authenticate"))
		require.Equal(t, http.StatusForbidden, b.get(path, user).Status, path)
		require.Equal(t, http.StatusOK, b.get(path, admin).Status, path)
	}
}

func TestDocsForAdminsInABrowser(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Docs = api.DocsAdmin })
	b.admin()
	b.user("ada")
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/api/docs", nil)
	r.SetBasicAuth("root1", password)
	page := b.do(request{method: http.MethodGet, path: "/api/docs", header: r.Header})
	require.Equal(t, http.StatusOK, page.Status, "%s", page.Body)
	cookie := page.Header.Get("Set-Cookie")
	require.Contains(t, cookie, "HttpOnly; Secure; SameSite=Strict")
	value, _, _ := strings.Cut(cookie, ";")
	next := b.do(request{method: http.MethodGet, path: "/api/openapi.json", header: http.Header{"Cookie": {value}}})
	require.Equal(t, http.StatusOK, next.Status)
	require.Equal(t, http.StatusUnauthorized, b.do(request{method: http.MethodGet, path: "/api/clients", header: http.Header{"Cookie": {value}}}).Status,
		"the cookie is for the docs only")
	r.SetBasicAuth("ada", password)
	require.Equal(t, http.StatusForbidden, b.do(request{method: http.MethodGet, path: "/api/docs", header: r.Header}).Status)
	r.SetBasicAuth("ada", "wrong")
	require.Equal(t, http.StatusUnauthorized, b.do(request{method: http.MethodGet, path: "/api/docs", header: r.Header}).Status)
}

func TestDocsOff(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Docs = api.DocsOff })
	require.Equal(t, http.StatusNotFound, b.get("/api/docs", "").Status)
	require.Equal(t, http.StatusNotFound, b.get("/api/openapi.json", "").Status)
}

func specDocument(t *testing.T) *openapi3.T {
	t.Helper()
	body, err := api.OpenAPIDocument(api.Options{AppName: "x", Version: "y"})
	require.NoError(t, err)
	return parseSpec(t, body)
}
