package api

import (
	"net/http"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/ratelimit"
)

// limitAddress counts one call of this kind for the caller's address.
func (s *server) limitAddress(r *http.Request, kind string, perMinute int) error {
	key := "api/" + kind + "/address/" + ratelimit.Address(s.clientIP(r))
	return s.deps.Limiter.Allow(r.Context(), key, perMinute, time.Minute)
}

// limitAccount counts one call of this kind for the caller's account.
func (s *server) limitAccount(r *http.Request, p accounts.Principal, kind string, perMinute int) error {
	key := "api/" + kind + "/account/" + p.AccountID.String()
	return s.deps.Limiter.Allow(r.Context(), key, perMinute, time.Minute)
}
