package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	allowedMethods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
	allowedHeaders = "Authorization, Content-Type, Accept, Accept-Language, Idempotency-Key, X-Request-ID, X-Requested-With"
	exposedHeaders = "X-Total-Count, Link, Location, Retry-After, X-Request-ID, WWW-Authenticate, Idempotent-Replayed"
)

// parseOrigins trims and checks the origins that browsers may call from. Any origin together with credentials would hand every
// site the caller's session, so "*" is refused.
func parseOrigins(list []string) ([]string, error) {
	var out []string
	for _, origin := range list {
		origin = strings.TrimSuffix(strings.TrimSpace(origin), "/")
		if origin == "" {
			continue
		}
		if origin == "*" {
			return nil, errors.New("CORS_ORIGINS: * is refused, since requests carry credentials; list the origins")
		}
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Path != "" || (u.Scheme != "http" && u.Scheme != "https") {
			return nil, fmt.Errorf("CORS_ORIGINS: %q isn't an origin such as https://app.example.com", origin)
		}
		out = append(out, strings.ToLower(origin))
	}
	return out, nil
}

// cors answers preflights itself; they carry no token and no route knows OPTIONS.
func (s *server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origin := r.Header.Get("Origin")
		h := w.Header()
		h.Add("Vary", "Origin")
		allowed := origin != "" && slices.Contains(s.origins, strings.ToLower(origin))
		if allowed {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Set("Access-Control-Expose-Headers", exposedHeaders)
		}
		if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
			next.ServeHTTP(w, r)
			return
		}
		if allowed {
			h.Set("Access-Control-Allow-Methods", allowedMethods)
			h.Set("Access-Control-Allow-Headers", allowedHeaders)
			h.Set("Access-Control-Max-Age", "600")
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
