package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"controlplane/internal/errs"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// ServerDeps is what a Server works with; all but Zip are required.
type ServerDeps struct {
	Inspector Inspector
	Tenant    func(ctx context.Context, id tenants.ID) (tenants.Tenant, error) // by id, deleted ones too
	Token     secrets.Secret
	Log       *slog.Logger

	Zip func(ctx context.Context, order []byte, w io.Writer) error // makes a download of what Client.Zip was given; nil: there is no place for backups
}

// NewHandler returns the worker's side. It answers nobody who hasn't got the token; what an account may see is the api's to decide.
func NewHandler(deps ServerDeps) (http.Handler, error) {
	if deps.Inspector == nil || deps.Tenant == nil || deps.Token == "" || deps.Log == nil {
		return nil, errors.New("the worker's inspector lacks something that it works with")
	}
	s := server{deps}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/tenants/{id}/stats", s.guarded(s.ofTenant(s.stats)))
	mux.HandleFunc("GET /v1/tenants/{id}/logs", s.guarded(s.ofTenant(s.logs)))
	mux.HandleFunc("POST "+zipPath, s.guarded(s.zip))
	return mux, nil
}

type server struct{ deps ServerDeps }

func (s server) guarded(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || !s.deps.Token.Equal(given) {
			s.fail(w, r, errs.New(errs.Unauthenticated, "not_authenticated", "Not authenticated"))
			return
		}
		handle(w, r)
	}
}

func (s server) ofTenant(handle func(w http.ResponseWriter, r *http.Request, t tenants.Tenant)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil || id <= 0 {
			s.fail(w, r, tenants.ErrNotFound)
			return
		}
		t, err := s.deps.Tenant(r.Context(), tenants.ID(id))
		if err != nil {
			s.fail(w, r, err)
			return
		}
		handle(w, r, t)
	}
}

func (s server) stats(w http.ResponseWriter, r *http.Request, t tenants.Tenant) {
	stats, err := s.deps.Inspector.Stats(r.Context(), t)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.write(w, r, http.StatusOK, stats)
}

// logs answers a JSON object a line. The last one says how it ended: an answer that just stops was cut off.
func (s server) logs(w http.ResponseWriter, r *http.Request, t tenants.Tenant) {
	query := r.URL.Query()
	tail, err := strconv.Atoi(query.Get("tail"))
	if err != nil || tail < 0 {
		s.fail(w, r, errs.InvalidField("tail", "out_of_range", "tail must be a number"))
		return
	}
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	encoder := json.NewEncoder(w)
	follow := query.Get("follow") == "true"
	if follow {
		if err := control.Flush(); err != nil { // the client waits for the header
			s.deps.Log.WarnContext(r.Context(), "an inspector's answer can't be streamed", "error", err)
			return
		}
	}
	err = s.deps.Inspector.Logs(r.Context(), t, tenants.LogQuery{Tail: tail, Follow: follow}, func(line tenants.LogLine) error {
		if err := encoder.Encode(item{Line: &line}); err != nil || !follow {
			return err
		}
		return control.Flush()
	})
	if r.Context().Err() != nil {
		return
	}
	last := item{End: true}
	if err != nil {
		f := s.told(r, err)
		last = item{Failure: &f}
	}
	if err := encoder.Encode(last); err != nil {
		s.deps.Log.DebugContext(r.Context(), "an inspector's client went away", "error", err)
	}
}

// told is what the client may know of err; the rest goes to the log.
func (s server) told(r *http.Request, err error) failure {
	var known *errs.Error
	if !errors.As(err, &known) {
		known = errs.New(errs.Internal, "internal", "Something went wrong on our side.")
	}
	if known.Kind == errs.Internal || known.Kind == errs.Unavailable {
		s.deps.Log.WarnContext(r.Context(), "an inspection went wrong", "path", r.URL.Path, "error", err)
	}
	return failure{Kind: known.Kind.String(), Code: known.Code, Message: known.Message}
}

func (s server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway // the client reads the body, people the status
	switch errs.KindOf(err) {       //nolint:exhaustive // the others don't come here
	case errs.Unauthenticated:
		status = http.StatusUnauthorized
	case errs.NotFound:
		status = http.StatusNotFound
	case errs.Invalid:
		status = http.StatusUnprocessableEntity
	}
	s.write(w, r, status, s.told(r, err))
}

func (s server) write(w http.ResponseWriter, r *http.Request, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.deps.Log.DebugContext(r.Context(), "an inspector's client went away", "error", err)
	}
}
