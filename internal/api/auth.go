package api

import (
	"context"
	"net/http"
	"strings"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

var errAdminsOnly = errs.New(errs.Forbidden, "admins_only", "Admin access required")

// handler is a route's code: it returns errors to the one place that writes them.
type handler func(w http.ResponseWriter, r *http.Request) error

// userHandler is a route's code for a caller who is known.
type userHandler func(w http.ResponseWriter, r *http.Request, p accounts.Principal) error

// public serves h to everybody, for as long as a request may take.
func (s *server) public(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.opts.RequestTimeout)
		defer cancel()
		s.serve(w, r.WithContext(ctx), h)
	}
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, h handler) {
	if err := h(w, r); err != nil {
		s.fail(w, r, err)
	}
}

// user serves h to whoever shows a valid access token.
func (s *server) user(h userHandler) http.HandlerFunc { return s.public(s.known(s.principal, h)) }

// known finds out who calls before h does anything.
func (s *server) known(who func(r *http.Request) (accounts.Principal, error), h userHandler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := who(r)
		if err != nil {
			return err
		}
		if rec, ok := w.(*recorder); ok {
			rec.account = p.AccountID
		}
		return s.once(w, r, p, h)
	}
}

// admin serves h to admins; others get refused, which may be worded for the route.
func (s *server) admin(refused error, h userHandler) http.HandlerFunc {
	return s.user(func(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
		if !p.Admin {
			return refused
		}
		return h(w, r, p)
	})
}

// principal reads the token from the header, and from nowhere else: a token in a URL ends up in logs, one in a cookie is sent by
// other sites' pages.
func (s *server) principal(r *http.Request) (accounts.Principal, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return accounts.Principal{}, accounts.ErrNotAuthenticated
	}
	return s.deps.Accounts.Authenticate(r.Context(), token)
}

// client finds the client that the path names, if the caller may know of it.
func (s *server) client(r *http.Request, p accounts.Principal) (tenants.Tenant, error) {
	name, err := pathName(r)
	if err != nil {
		return tenants.Tenant{}, err
	}
	return s.deps.Tenants.Get(r.Context(), p, name)
}
