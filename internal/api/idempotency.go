package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/idempotency"
)

const (
	idempotencyHeader = "Idempotency-Key"
	replayedHeader    = "Idempotent-Replayed"
)

// keyTimeout bounds what is done with a key after the request itself is over.
const keyTimeout = 5 * time.Second

// answersSecret reports whether a route's answer is a credential, or leads to one. Those aren't stored, so a key means nothing there.
func answersSecret(pattern string) bool {
	return strings.HasPrefix(pattern, "/api/auth/") || pattern == "/api/events/ticket" || pattern == oneClient+"/reset-admin-password"
}

// once serves h, and for a POST that bears an Idempotency-Key sees to it that a repeat gets the first answer. The answer is stored before
// it is sent: whoever saw it can rely on it.
func (s *server) once(w http.ResponseWriter, r *http.Request, p accounts.Principal, h userHandler) error {
	keys := r.Header.Values(idempotencyHeader)
	pattern := chi.RouteContext(r.Context()).RoutePattern()
	if len(keys) == 0 || r.Method != http.MethodPost || answersSecret(pattern) {
		return h(w, r, p)
	}
	request, err := s.keyedRequest(w, r, p, pattern, keys)
	if err != nil {
		return err
	}
	claim, err := s.deps.Idempotency.Begin(r.Context(), request)
	if err != nil {
		return err
	}
	if claim.Replay != nil {
		w.Header().Set(replayedHeader, "true")
		send(w, *claim.Replay)
		return nil
	}
	answer := s.capture(r, p, h, claim)
	send(w, answer)
	return nil
}

// keyedRequest reads the body, which h gets again.
func (s *server) keyedRequest(
	w http.ResponseWriter, r *http.Request, p accounts.Principal, pattern string, keys []string,
) (idempotency.Request, error) {
	if len(keys) > 1 {
		return idempotency.Request{}, idempotency.ErrBadKey
	}
	key, err := idempotency.ParseKey(keys[0])
	if err != nil {
		return idempotency.Request{}, err
	}
	body, err := readBody(w, r, s.opts.MaxBody)
	if err != nil {
		return idempotency.Request{}, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return idempotency.Request{
		AccountID: int64(p.AccountID), Route: r.Method + " " + pattern, Key: key, Fingerprint: fingerprint(r, body),
	}, nil
}

// fingerprint tells requests on one route apart: names in the path, the query, the kind and bytes of the body.
func fingerprint(r *http.Request, body []byte) [sha256.Size]byte {
	var all []byte
	for _, part := range [][]byte{[]byte(r.URL.EscapedPath()), []byte(r.URL.RawQuery), []byte(mediaType(r)), body} {
		all = binary.BigEndian.AppendUint64(all, uint64(len(part)))
		all = append(all, part...)
	}
	return sha256.Sum256(all)
}

// capture has h answer into memory and settles the claim, also when the caller has hung up, or h panics.
func (s *server) capture(r *http.Request, p accounts.Principal, h userHandler, claim idempotency.Claim) idempotency.Answer {
	memory := &memoryWriter{header: http.Header{}}
	finished := false
	defer func() {
		if !finished {
			s.settleKey(r, claim, nil)
		}
	}()
	if err := h(memory, r, p); err != nil {
		s.fail(memory, r, err)
	}
	finished = true
	answer := idempotency.Answer{Status: memory.status, Header: memory.header, Body: memory.body.Bytes()}
	if repeatable(answer.Status) {
		s.settleKey(r, claim, &answer)
	} else {
		s.settleKey(r, claim, nil)
	}
	return answer
}

// repeatable reports whether a status says something about the request, and not about the moment.
func repeatable(status int) bool {
	return status < http.StatusInternalServerError && status != http.StatusTooManyRequests
}

// settleKey stores the answer, or gives the key back where there is none. What can't be settled is as if we had died: the lease ends.
func (s *server) settleKey(r *http.Request, claim idempotency.Claim, answer *idempotency.Answer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), keyTimeout)
	defer cancel()
	var err error
	if answer == nil {
		err = s.deps.Idempotency.Release(ctx, claim)
	} else {
		err = s.deps.Idempotency.Finish(ctx, claim, *answer)
	}
	if err != nil && !errors.Is(err, idempotency.ErrLost) {
		s.deps.Log.LogAttrs(ctx, slog.LevelWarn, "an idempotency key can't be settled",
			slog.String("request_id", requestID(ctx)), slog.String("error", err.Error()))
	}
}

func send(w http.ResponseWriter, a idempotency.Answer) {
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // a caller who hung up isn't our trouble
}

// memoryWriter keeps an answer until it may be sent.
type memoryWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *memoryWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *memoryWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *memoryWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p) //nolint:wrapcheck // memory doesn't fail
}
