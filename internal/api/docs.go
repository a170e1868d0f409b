package api

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/swaggest/swgui/v5emb"
	"go.yaml.in/yaml/v3"

	"controlplane/internal/accounts"
	"controlplane/internal/secrets"
)

//go:embed openapi.yaml
var openAPISource []byte

// openAPIDocument turns the description, written as YAML for people, into the JSON that is served, with this installation's names.
func openAPIDocument(opts Options) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(openAPISource, &doc); err != nil {
		return nil, fmt.Errorf("parse the OpenAPI description: %w", err)
	}
	info, _ := doc["info"].(map[string]any)
	if info == nil {
		return nil, errors.New("the OpenAPI description has no info")
	}
	info["title"], info["version"] = opts.AppName+" API", opts.Version
	out, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode the OpenAPI description: %w", err)
	}
	return out, nil
}

// docsRoutes serves the description and a page to try it, which brings its own scripts and works without the internet.
func (s *server) docsRoutes(r chi.Router) {
	if s.opts.Docs == DocsOff {
		return
	}
	assets := v5emb.New(s.opts.AppName, "/api/openapi.json", "/api/docs")
	r.Get("/api/openapi.json", s.public(s.docs(s.openAPI)))
	r.Get("/api/docs", s.public(s.docs(s.docsPage)))
	r.Get("/api/docs/{file}", s.public(s.docs(func(w http.ResponseWriter, r *http.Request) error {
		if chi.URLParam(r, "file") == "init.js" {
			return asset(w, "pages/docs.js", "text/javascript; charset=utf-8")
		}
		assets.ServeHTTP(w, r)
		return nil
	})))
}

func (s *server) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(s.document) // a caller who hung up isn't our trouble
	return nil
}

func (s *server) docsPage(w http.ResponseWriter, _ *http.Request) error {
	return s.page(w, http.StatusOK, "pages/docs.html", docsPolicy, struct{ AppName string }{s.opts.AppName})
}

// docsCookie carries an admin's access token from one request of the docs page to the next. No other route reads it.
const docsCookie = "docs_access"

// docs lets h be read by whoever Options.Docs says. A browser can't send a bearer token by itself, so admins may also give name and
// password to its own dialogue.
func (s *server) docs(h handler) handler {
	if s.opts.Docs == DocsPublic {
		return h
	}
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Add("WWW-Authenticate", `Bearer`)
		w.Header().Add("WWW-Authenticate", `Basic realm="API documentation", charset="UTF-8"`)
		p, err := s.docsReader(w, r)
		switch {
		case err != nil:
			return err
		case !p.Admin:
			return errAdminsOnly
		}
		w.Header().Del("WWW-Authenticate")
		return h(w, r)
	}
}

func (s *server) docsReader(w http.ResponseWriter, r *http.Request) (accounts.Principal, error) {
	if cookie, err := r.Cookie(docsCookie); err == nil {
		if p, err := s.deps.Accounts.Authenticate(r.Context(), cookie.Value); err == nil {
			return p, nil
		}
	}
	name, password, basic := r.BasicAuth()
	if !basic {
		return s.principal(r)
	}
	if err := s.limitAddress(r, "login", s.opts.Rates.Login); err != nil {
		return accounts.Principal{}, err
	}
	tokens, err := s.deps.Accounts.Login(r.Context(), s.clientIP(r), name, secrets.Secret(password))
	if err != nil {
		return accounts.Principal{}, err
	}
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure unless the installation has no TLS at all, as on a developer's machine
		Name: docsCookie, Value: tokens.Access.Reveal(), Path: "/api/", MaxAge: int(tokens.ExpiresIn.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: strings.HasPrefix(s.opts.PublicURL, "https://"),
	})
	return s.deps.Accounts.Authenticate(r.Context(), tokens.Access.Reveal())
}
