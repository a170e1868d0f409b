package api

import (
	"net/http"

	"controlplane/internal/cors"
)

// cors answers preflights itself; they carry no token and no route knows OPTIONS.
func (s *server) cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if cors.IsPreflight(r) {
			s.origins.AnswerPreflight(w, r)
			return
		}
		s.origins.Allow(w.Header(), r)
		next.ServeHTTP(w, r)
	})
}
