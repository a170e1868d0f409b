package api

import (
	"net/http"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
)

// This file holds the routes that existing front ends and scripts know and that this release doesn't do yet. They check the caller
// as they always will, so that nobody learns anything from a 501 that the finished route would hide.

func notYet(what string) error {
	return errs.Newf(errs.NotImplemented, "not_implemented", "%s aren't available yet; they come with a later release.", what)
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
