package api

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// problem is an RFC 9457 document. Detail is always one readable string, because existing front ends show it as it is.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Code      string         `json:"code"`
	RequestID string         `json:"request_id,omitempty"`
	Errors    []problemField `json:"errors,omitempty"`
}

type problemField struct {
	Field  string `json:"field"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

var (
	errInternal    = errs.New(errs.Internal, "internal", "Something went wrong on our side. If it happens again, tell us the request id.")
	errTooSlow     = errs.New(errs.Unavailable, "timeout", "That took too long. Please try again.")
	errUnavailable = errs.New(errs.Unavailable, "unavailable", "The service is briefly not available. Please try again in a moment.")
	errNoRoute     = errs.New(errs.NotFound, "no_such_route", "Not Found")
)

// defaultRetryAfter is told where nobody knows better.
const defaultRetryAfter = 5 * time.Second

// statusOf is the only place that maps kinds to statuses.
func statusOf(kind errs.Kind) int {
	switch kind {
	case errs.Malformed:
		return http.StatusBadRequest
	case errs.Invalid:
		return http.StatusUnprocessableEntity
	case errs.Unauthenticated:
		return http.StatusUnauthorized
	case errs.PaymentRequired:
		return http.StatusPaymentRequired
	case errs.Forbidden:
		return http.StatusForbidden
	case errs.NotFound:
		return http.StatusNotFound
	case errs.Conflict:
		return http.StatusConflict
	case errs.Gone:
		return http.StatusGone
	case errs.TooLarge:
		return http.StatusRequestEntityTooLarge
	case errs.RateLimited:
		return http.StatusTooManyRequests
	case errs.NotImplemented:
		return http.StatusNotImplemented
	case errs.Unavailable:
		return http.StatusServiceUnavailable
	case errs.Internal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// fail logs err and answers with its problem document. Nothing else in this package logs errors.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := s.classify(r.Context(), err)
	s.logError(r, e, err)
	status := statusOf(e.Kind)
	writeProblem(w, status, e, problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: e.Message, Code: e.Code,
		RequestID: requestID(r.Context()), Errors: problemFields(e.Fields),
	})
}

// classify finds the error that may be shown. What isn't an errs.Error tells the caller nothing but its kind.
func (s *server) classify(ctx context.Context, err error) *errs.Error {
	var e *errs.Error
	switch {
	case errors.As(err, &e) && e.Kind != errs.Internal:
		return e
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return errTooSlow
	case postgres.Unreachable(err):
		return errUnavailable
	}
	return errInternal
}

func (s *server) logError(r *http.Request, e *errs.Error, err error) {
	level := slog.LevelDebug
	switch {
	case errors.Is(r.Context().Err(), context.Canceled): // the caller hung up; nobody reads the answer
	case e.Kind == errs.Internal:
		level = slog.LevelError
	case e.Kind == errs.Unavailable:
		level = slog.LevelWarn
	}
	s.deps.Log.LogAttrs(r.Context(), level, "request refused",
		slog.String("request_id", requestID(r.Context())), slog.String("method", r.Method), slog.String("path", loggedPath(r)),
		slog.String("code", e.Code), slog.String("error", err.Error()))
}

func writeProblem(w http.ResponseWriter, status int, e *errs.Error, p problem) {
	body, err := json.Marshal(p)
	if err != nil { // a struct of strings always encodes
		body = []byte(`{"detail":"Internal Server Error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if status == http.StatusUnauthorized && h.Get("WWW-Authenticate") == "" {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if wait := retryAfter(e); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a caller who hung up isn't our trouble
}

func retryAfter(e *errs.Error) time.Duration {
	if e.RetryAfter > 0 || (e.Kind != errs.RateLimited && e.Kind != errs.Unavailable) {
		return e.RetryAfter
	}
	return defaultRetryAfter
}

func problemFields(fields []errs.Field) []problemField {
	var out []problemField
	for _, f := range fields {
		out = append(out, problemField{Field: f.Name, Code: f.Code, Detail: f.Message})
	}
	return out
}

// invalidFields makes one error of all fields that are wrong; its message names them all.
func invalidFields(fields []errs.Field) error {
	messages := make([]string, 0, len(fields))
	for _, f := range fields {
		messages = append(messages, f.Message)
	}
	e := errs.New(errs.Invalid, "invalid_fields", strings.Join(messages, " "))
	e.Fields = fields
	return e
}
