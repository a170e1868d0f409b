package api

import (
	"net/http"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
)

// This file holds the routes that existing front ends and scripts know and that this release doesn't do yet. They check the caller
// as they always will, so that nobody learns anything from a 501 that the finished route would hide.

var (
	errDeleteAdminsOnly = errs.New(errs.Forbidden, "admins_only", "Only administrators can delete clients")
	errForceAdminsOnly  = errs.New(errs.Forbidden, "admins_only", "Only administrators can force delete clients")
	errCleanupToken     = errs.New(errs.Unauthenticated, "bad_admin_token", "Invalid or missing admin token")
)

func notYet(what string) error {
	return errs.Newf(errs.NotImplemented, "not_implemented", "%s aren't available yet; they come with a later release.", what)
}

// later answers 501 to whoever may use the route.
func (s *server) later(what string) userHandler {
	return func(http.ResponseWriter, *http.Request, accounts.Principal) error { return notYet(what) }
}

// laterClient answers 404 first for a client that isn't the caller's.
func (s *server) laterClient(what string) userHandler {
	return func(_ http.ResponseWriter, r *http.Request, p accounts.Principal) error {
		if _, err := s.client(r, p); err != nil {
			return err
		}
		return notYet(what)
	}
}

func (s *server) laterClientRoutes(r chi.Router) {
	const moves, deletion = "Suspending and resuming", "Scheduled deletions"
	r.Post(oneClient+"/activate", s.user(s.laterClient("Manual activations")))
	r.Post(oneClient+"/suspend", s.user(s.laterClient(moves)))
	r.Post(oneClient+"/resume", s.user(s.laterClient(moves)))
	r.Post(oneClient+"/schedule-delete", s.user(s.laterClient(deletion)))
	r.Post(oneClient+"/cancel-delete", s.user(s.laterClient(deletion)))
	r.Delete(oneClient, s.admin(errDeleteAdminsOnly, s.laterClient("Deletions")))
	r.Post(oneClient+"/force-delete", s.admin(errForceAdminsOnly, s.laterClient("Deletions")))
	r.Get(oneClient+"/stats", s.user(s.laterClient("Statistics of a client")))
	r.Get(oneClient+"/domains", s.user(s.laterClient("Own domains")))
	r.Post(oneClient+"/domains", s.user(s.laterClient("Own domains")))
	r.Delete(oneClient+"/domains/{domain}", s.user(s.laterClient("Own domains")))
	r.Post(oneClient+"/backup", s.user(s.laterClient("Backups")))
}

func (s *server) laterRoutes(r chi.Router) {
	r.Get("/api/backups", s.user(s.later("Backups")))
	r.Get("/api/system/metrics", s.admin(errAdminsOnly, s.later("System metrics")))
	r.Post("/api/cleanup/expired-clients", s.public(s.cleanup))
}

// cleanup knows its caller by a token of its own, in the query as old cron entries send it, or in a header.
func (s *server) cleanup(_ http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r)
	token := q.text("admin_token")
	if q.err != nil {
		return q.err
	}
	if token == "" {
		token = r.Header.Get("X-Admin-Token")
	}
	if s.opts.CleanupToken == "" || !s.opts.CleanupToken.Equal(token) {
		return errCleanupToken
	}
	return notYet("Clean-up runs")
}
