package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/secrets"
)

type contextKey int

const (
	requestIDKey contextKey = iota
	drainKey
)

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// saneID keeps a proxy's request id from carrying anything but an id into our logs.
func saneID(id string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	return len(id) >= 8 && len(id) <= 64 && strings.Trim(id, allowed) == ""
}

// withRequestID keeps the id that a trusted proxy gave, so that its log and ours can be joined, or makes one.
func (s *server) withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-Request-ID")
		if !saneID(id) || !s.trusted(peer(r)) {
			id = secrets.RandomHex(8)
		}
		w.Header().Set("X-Request-ID", id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey, id)))
	})
}

// recorder remembers what was answered, and to whom, for the access line.
type recorder struct {
	http.ResponseWriter

	status  int
	bytes   int
	account accounts.ID
}

// WriteHeader implements http.ResponseWriter.
func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += n
	return n, err //nolint:wrapcheck // the writer's own error, as its interface wants it
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// loggedPath is the path as the caller sent it, bounded; queries and bodies are never logged, as they may hold tokens. The one that a path
// holds is left out.
func loggedPath(r *http.Request) string {
	path := r.URL.EscapedPath()
	if strings.HasPrefix(path, downloads) {
		return downloads + "[redacted]"
	}
	return path[:min(len(path), 200)]
}

func (s *server) accessLog(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		rec := &recorder{ResponseWriter: w}
		defer s.logAccess(r, rec, start)
		next.ServeHTTP(rec, r)
	})
}

func (s *server) logAccess(r *http.Request, rec *recorder, start time.Time) {
	s.deps.Log.LogAttrs(r.Context(), slog.LevelInfo, "request",
		slog.String("request_id", requestID(r.Context())), slog.String("method", r.Method), slog.String("path", loggedPath(r)),
		slog.Int("status", rec.status), slog.Int("bytes", rec.bytes), slog.Duration("took", time.Since(start)),
		slog.String("ip", s.clientIP(r).String()), slog.Int64("account", int64(rec.account)))
}

// recoverPanics sends panics down the road of any unknown error. The stack goes to the log, where the error does.
func (s *server) recoverPanics(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				panic(p)
			}
			s.fail(w, r, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}()
		next.ServeHTTP(w, r)
	})
}

// securityHeaders are the strictest that JSON can live with; the few pages we serve relax the policy for themselves.
func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// stripSlash serves "/x/" as "/x". The earlier API redirected, which loses bodies in some clients. It works on the escaped path,
// so that an encoded slash in a name stays part of the name.
func stripSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.EscapedPath()
		if rctx := chi.RouteContext(r.Context()); rctx != nil && len(path) > 1 && strings.HasSuffix(path, "/") {
			rctx.RoutePath = path[:len(path)-1]
		}
		next.ServeHTTP(w, r)
	})
}
