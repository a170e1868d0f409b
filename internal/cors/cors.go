// Package cors tells browsers which sites' scripts may call the API and read its answers. The API says so in each answer, and the edge in
// those that it gives in the API's place: without that a front end sees a limit or an outage as a failure without a reason.
package cors

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

// Policy is whom browsers may let in. The zero value is nobody.
type Policy struct{ origins []string }

// New trims and checks the origins that browsers may call from. Any origin together with credentials would hand every site the
// caller's session, so "*" is refused.
func New(list []string) (Policy, error) {
	var p Policy
	for _, origin := range list {
		origin = strings.TrimSuffix(strings.TrimSpace(origin), "/")
		if origin == "" {
			continue
		}
		if origin == "*" {
			return Policy{}, errors.New("CORS_ORIGINS: * is refused, since requests carry credentials; list the origins")
		}
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Path != "" || (u.Scheme != "http" && u.Scheme != "https") {
			return Policy{}, fmt.Errorf("CORS_ORIGINS: %q isn't an origin such as https://app.example.com", origin)
		}
		p.origins = append(p.origins, strings.ToLower(origin))
	}
	return p, nil
}

// Allow adds to an answer that the origin of the request may read it, if it may; it reports whether it may.
func (p Policy) Allow(h http.Header, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	h.Add("Vary", "Origin")
	if origin == "" || !slices.Contains(p.origins, strings.ToLower(origin)) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Set("Access-Control-Expose-Headers", exposedHeaders)
	return true
}

// IsPreflight reports whether a browser asks what it may ask.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
}

// AnswerPreflight answers a request that IsPreflight, to which no other header has been added yet.
func (p Policy) AnswerPreflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if p.Allow(h, r) {
		h.Set("Access-Control-Allow-Methods", allowedMethods)
		h.Set("Access-Control-Allow-Headers", allowedHeaders)
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
}
