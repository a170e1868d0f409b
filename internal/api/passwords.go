package api

import (
	"net/http"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

var errNotActive = errs.New(errs.Conflict, "not_active", "The client isn't active, so its password can't be reset.")

// resetAdminPassword makes a new password for the Odoo administrator. It isn't in the answer, since an admin of the platform may
// help with a lock-out without learning it: the owner reads it from the credentials, once.
func (s *server) resetAdminPassword(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "reset-admin-password", s.opts.Rates.Reset); err != nil {
		return err
	}
	t, err := s.client(r, p)
	switch {
	case err != nil:
		return err
	case t.State != tenants.Active:
		return errNotActive
	}
	if err := s.deps.Passwords.ResetAdminPassword(r.Context(), t); err != nil {
		return err
	}
	return reply(w, http.StatusOK, done{Success: true, Message: "The new password can be read once, from the client's credentials."})
}
