package edge_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

// checklist is what a header scan of the production checklist asks for.
var checklist = map[string]string{ //nolint:gochecknoglobals // a constant table
	"X-Frame-Options": "SAMEORIGIN", "X-Content-Type-Options": "nosniff", "X-XSS-Protection": "1; mode=block",
	"Referrer-Policy": "no-referrer-when-downgrade",
}

func TestEdge_SecurityHeaders(t *testing.T) {
	t.Parallel()
	b := setup(t, behindProxy)
	up := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Server", "Werkzeug/3.0 Python/3.12")
		h.Set("X-Powered-By", "Odoo")
		switch r.URL.Path {
		case "/web": // as Odoo answers
			h.Set("X-Frame-Options", "DENY")
		case "/web/image/1":
			h.Set("Content-Security-Policy", "default-src 'none'")
			h.Set("X-Content-Type-Options", "nosniff")
		case "/my":
			h.Set("Content-Security-Policy", "frame-ancestors 'self'")
			h.Set("X-Frame-Options", "SAMEORIGIN")
		case "/not-modified":
			w.WriteHeader(http.StatusNotModified)
		}
	}), nil)
	b.tenant("acme", tenants.Active, up)
	b.tenant("resting", tenants.Suspended, up)
	b.start()
	const self = "frame-ancestors 'self'"
	for path, policies := range map[string][]string{
		"/": {self}, "/web/login": {self}, "/not-modified": {self}, "/my": {self}, "/web/image/1": {"default-src 'none'", self}, "/web/database": nil, "/web": {self},
	} {
		res := b.get("http://acme.example.test" + path)
		for name, want := range checklist {
			if path == "/web" && name == "X-Frame-Options" {
				want = "DENY" // Odoo's own word, which is stricter
			}
			require.Equal(t, []string{want}, res.header.Values(name), "%s %s", path, name)
		}
		if policies != nil {
			require.Equal(t, policies, res.header.Values("Content-Security-Policy"), path)
		}
		for _, name := range []string{"Server", "Via", "X-Powered-By", "Strict-Transport-Security"} {
			require.Empty(t, res.header.Values(name), "%s %s", path, name)
		}
	}
	page := b.get("http://resting.example.test/")
	for name, want := range checklist {
		require.Equal(t, []string{want}, page.header.Values(name))
	}
	require.Contains(t, page.header.Get("Content-Security-Policy"), self)
	secure := b.get("http://acme.example.test/", "X-Forwarded-Proto", "https")
	require.Equal(t, []string{"max-age=31536000"}, secure.header.Values("Strict-Transport-Security"))
	for _, path := range []string{"/slides/embed/3?page=1", "/fr/slides/embed_external/3"} {
		framed := b.get("http://acme.example.test" + path)
		require.Empty(t, framed.header.Values("X-Frame-Options"), "made to be framed elsewhere")
		require.Empty(t, framed.header.Values("Content-Security-Policy"))
		require.Equal(t, "nosniff", framed.header.Get("X-Content-Type-Options"))
	}
	tricked := b.get("http://acme.example.test/slides/embed/../../web/login")
	require.NotEmpty(t, tricked.header.Get("Content-Security-Policy"))
}

func TestEdge_Brand(t *testing.T) {
	t.Parallel()
	logo := filepath.Join(t.TempDir(), "logo.svg")
	require.NoError(t, os.WriteFile(logo, []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`), 0o600))
	b := setup(t, func(o *edge.Options) {
		o.ProductName = `Ada & "Sons"`
		o.Brand = edge.Brand{Color: "#006600", LogoFile: logo, SupportURL: "https://help.example.test/?a=1&b=2"}
	})
	b.tenant("resting", tenants.Suspended, nil)
	b.start()
	page := b.get("http://resting.example.test/", "Accept", "text/html").body
	for _, part := range []string{
		"--mark: #006600", `<img src="data:image/svg&#43;xml;base64,`, `alt="Ada &amp; &#34;Sons&#34;"`, `href="https://help.example.test/?a=1&amp;b=2"`,
	} {
		require.Contains(t, page, part)
	}
	for name, brand := range map[string]edge.Brand{
		"no colour": {Color: "red; } body { display: none"}, "script": {SupportURL: "javascript:alert(1)"}, "no logo": {LogoFile: logo + ".png"},
		"no picture": {LogoFile: os.Args[0]},
	} {
		o := b.opts
		o.Brand = brand
		_, err := edge.New(o)
		require.Error(t, err, name)
	}
}

func TestEdge_TellsProgress(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	var down atomic.Bool
	b := setup(t, func(o *edge.Options) {
		o.Step = func(context.Context, tenants.ID) (string, error) {
			asked.Add(1)
			if down.Load() {
				return "", errors.New("away")
			}
			return "create", nil
		}
	})
	b.tenant("fresh", tenants.Provisioning, nil)
	b.start()
	page := b.get("http://fresh.example.test/web", "Accept", "text/html")
	require.Equal(t, 503, page.status)
	require.Contains(t, page.body, "Creating its database")
	require.Contains(t, page.body, `max="5" value="1"`)
	require.Contains(t, b.get("http://fresh.example.test/web", "Accept", "application/json").body, `"progress":{"text":"Creating its database","done":1,"of":5}`)
	for range 20 {
		b.get("http://fresh.example.test/web")
	}
	require.Less(t, asked.Load(), int64(10), "the database isn't asked for every look")
	down.Store(true)
	eventually(t, "the page does without", func() bool {
		page := b.get("http://fresh.example.test/web")
		return page.status == 503 && !strings.Contains(page.body, "Creating its database")
	})
}

func TestEdge_ProgramsGetJSON(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.tenant("resting", tenants.Suspended, nil)
	b.start()
	for path, headers := range map[string][]string{
		"/web": {"Accept", "application/json"}, "/": {"Content-Type", "application/json"}, "/json/2/res.partner/read": nil, "/xmlrpc/2/object": nil,
		"/web/dataset/call_kw": nil, "/jsonrpc": nil,
	} {
		res := b.get("http://resting.example.test"+path, headers...)
		require.Equal(t, "application/problem+json", res.header.Get("Content-Type"), path)
		require.Contains(t, res.body, `"code":"suspended"`)
	}
	for _, accept := range []string{"", "*/*", "text/html,application/json"} {
		res := b.get("http://resting.example.test/web", "Accept", accept)
		require.Equal(t, "text/html; charset=utf-8", res.header.Get("Content-Type"), accept)
	}
}
