package inspect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/errs"
	"controlplane/internal/inspect"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

const secretKey = "0f6e3f0a9c1b4d7e8a2b5c8d1e4f7a0b"

// engine is what a worker would look at.
type engine struct {
	stats  tenants.Stats
	lines  []tenants.LogLine
	query  tenants.LogQuery
	err    error
	follow chan tenants.LogLine // nil: a followed log ends at once
	ended  chan struct{}        // closed when the one who follows has gone
}

func (e *engine) Stats(context.Context, tenants.Tenant) (tenants.Stats, error) { return e.stats, e.err }

// zip writes the order and fails then, if the engine does.
func (e *engine) zip(_ context.Context, order []byte, w io.Writer) error {
	if len(order) == 0 && e.err != nil {
		return e.err
	}
	if _, err := w.Write(order); err != nil {
		return err
	}
	return e.err
}

func (e *engine) Logs(ctx context.Context, _ tenants.Tenant, q tenants.LogQuery, line func(tenants.LogLine) error) error {
	e.query = q
	for _, l := range e.lines {
		if err := line(l); err != nil {
			return err
		}
	}
	for q.Follow && e.follow != nil {
		select {
		case l := <-e.follow:
			if err := line(l); err != nil {
				return err
			}
		case <-ctx.Done():
			close(e.ended)
			return ctx.Err()
		}
	}
	return e.err
}

type bundle struct {
	*inspect.Client
	engine *engine
	server *httptest.Server
	token  secrets.Secret
	acme   tenants.Tenant
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{engine: &engine{ended: make(chan struct{})}, acme: tenants.Tenant{ID: 42, Name: "acme"}}
	var err error
	b.token, err = inspect.Token(secretKey)
	require.NoError(t, err)
	handler, err := inspect.NewHandler(inspect.ServerDeps{
		Inspector: b.engine, Zip: b.engine.zip, Token: b.token, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Tenant: func(_ context.Context, id tenants.ID) (tenants.Tenant, error) {
			if id != b.acme.ID {
				return tenants.Tenant{}, tenants.ErrNotFound
			}
			return b.acme, nil
		},
	})
	require.NoError(t, err)
	b.server = httptest.NewServer(handler)
	t.Cleanup(b.server.Close)
	b.Client = b.client(t, b.token)
	return b
}

func (b *bundle) client(t *testing.T, token secrets.Secret) *inspect.Client {
	t.Helper()
	c, err := inspect.NewClient(b.server.URL+"/", token)
	require.NoError(t, err)
	return c
}

func TestToken_IsDerived(t *testing.T) {
	t.Parallel()
	one, err := inspect.Token(secretKey)
	require.NoError(t, err)
	again, err := inspect.Token(secretKey)
	require.NoError(t, err)
	other, err := inspect.Token(secretKey + "x")
	require.NoError(t, err)
	require.Equal(t, one, again)
	require.NotEqual(t, one, other)
	require.Len(t, one.Reveal(), 64)
	require.NotContains(t, one.Reveal(), secretKey)
}

func TestServer_AnswersOnlyWhoHasTheToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tests := map[string]struct {
		authorization string
		want          int
	}{
		"none":           {"", http.StatusUnauthorized},
		"empty":          {"Bearer ", http.StatusUnauthorized},
		"another":        {"Bearer " + strings.Repeat("0", 64), http.StatusUnauthorized},
		"the key itself": {"Bearer " + secretKey, http.StatusUnauthorized},
		"a start of it":  {"Bearer " + b.token.Reveal()[:63], http.StatusUnauthorized},
		"no bearer":      {b.token.Reveal(), http.StatusUnauthorized},
		"the right one":  {"Bearer " + b.token.Reveal(), http.StatusOK},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for path, method := range map[string]string{"tenants/42/stats": http.MethodGet, "tenants/42/logs?tail=1": http.MethodGet, "downloads": http.MethodPost} {
				req, err := http.NewRequestWithContext(t.Context(), method, b.server.URL+"/v1/"+path, nil)
				require.NoError(t, err)
				req.Header.Set("Authorization", tt.authorization)
				res, err := http.DefaultClient.Do(req)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, tt.want, res.StatusCode, path)
			}
		})
	}
}

func TestServer_BadRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for path, want := range map[string]int{
		"/v1/tenants/0/stats": http.StatusNotFound, "/v1/tenants/-1/stats": http.StatusNotFound, "/v1/tenants/acme/stats": http.StatusNotFound,
		"/v1/tenants/99999999999999999999/stats": http.StatusNotFound, "/v1/tenants/7/stats": http.StatusNotFound, "/v1/tenants": http.StatusNotFound,
		"/v1/tenants/42/logs": http.StatusUnprocessableEntity, "/v1/tenants/42/logs?tail=-1": http.StatusUnprocessableEntity,
		"/v1/tenants/42/logs?tail=x": http.StatusUnprocessableEntity,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.server.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer "+b.token.Reveal())
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, want, res.StatusCode, path)
	}
}

func TestClient_Stats(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.engine.stats = tenants.Stats{
		State:      tenants.Active,
		Containers: []tenants.ContainerStats{{ID: "abc", Name: "odoo_acme", Status: "running", SampledAt: at, CPUPercent: 1.5, MemoryBytes: 1 << 30}},
		Disk:       tenants.Disk{DatabaseBytes: 1, FilestoreBytes: 2, MeasuredAt: at},
	}
	stats, err := b.Stats(t.Context(), b.acme)
	require.NoError(t, err)
	require.Equal(t, b.engine.stats, stats)
}

func TestClient_ErrorsCrossTheWire(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		worker error
		want   errs.Kind
		code   string
		shown  string
	}{
		"ours":         {errs.New(errs.Unavailable, "engine_unavailable", "The engine is down.").WithCause(errors.New("secret detail")), errs.Unavailable, "engine_unavailable", "The engine is down."},
		"a conflict":   {errs.New(errs.Conflict, "foreign_object", "In the way."), errs.Conflict, "foreign_object", "In the way."},
		"not for show": {errors.New("secret detail"), errs.Internal, "internal", "Something went wrong on our side."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.engine.err = fmt.Errorf("look: %w", tt.worker)
			_, statsErr := b.Stats(t.Context(), b.acme)
			for _, err := range []error{statsErr, b.Logs(t.Context(), b.acme, tenants.LogQuery{}, nil)} {
				var got *errs.Error
				require.ErrorAs(t, err, &got)
				require.Equal(t, tt.want, got.Kind)
				require.Equal(t, tt.code, got.Code)
				require.Equal(t, tt.shown, got.Message)
				require.NotContains(t, err.Error(), "secret detail", "it is in the worker's log")
			}
		})
	}
}

// A download comes whole, or doesn't pass for one.
func TestClient_Zip(t *testing.T) {
	t.Parallel()
	b := setup(t)
	order := bytes.Repeat([]byte("0123456789"), 6000)
	var got bytes.Buffer
	require.NoError(t, b.Zip(t.Context(), order, &got))
	require.Equal(t, order, got.Bytes())
	require.Error(t, b.Zip(t.Context(), bytes.Repeat(order, 2), io.Discard), "no order is as long")
	b.engine.err = errs.New(errs.Unavailable, "backup_store_unreachable", "The backup store can't be reached; we try again.")
	err := b.Zip(t.Context(), order, io.Discard)
	require.Error(t, err, "it broke off")
	err = b.Zip(t.Context(), nil, io.Discard)
	var known *errs.Error
	require.ErrorAs(t, err, &known)
	require.Equal(t, "backup_store_unreachable", known.Code)
	boom := errors.New("the caller went away")
	b.engine.err = nil
	require.ErrorIs(t, b.Zip(t.Context(), order, failing{boom}), boom)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestClient_Logs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b.engine.lines = []tenants.LogLine{{At: at, Stream: "stderr", Text: "one"}, {At: at, Stream: "stdout", Text: strings.Repeat("\x01", 15<<10)}}
	var got []tenants.LogLine
	err := b.Logs(t.Context(), b.acme, tenants.LogQuery{Tail: 7}, func(l tenants.LogLine) error {
		got = append(got, l)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, b.engine.lines, got)
	require.Equal(t, tenants.LogQuery{Tail: 7}, b.engine.query)
	boom := errors.New("boom")
	require.ErrorIs(t, b.Logs(t.Context(), b.acme, tenants.LogQuery{}, func(tenants.LogLine) error { return boom }), boom)
}

func TestClient_Follow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.engine.follow = make(chan tenants.LogLine)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan string)
	done := make(chan error, 1)
	go func() {
		done <- b.Logs(ctx, b.acme, tenants.LogQuery{Tail: 1, Follow: true}, func(l tenants.LogLine) error {
			got <- l.Text
			return nil
		})
	}()
	for _, text := range []string{"first", "second"} {
		b.engine.follow <- tenants.LogLine{Text: text}
		require.Equal(t, text, <-got, "a line comes as it is written")
	}
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	<-b.engine.ended // the worker stops reading, too
}

func TestClient_WithoutAWorker(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.client(t, "wrong").Stats(t.Context(), b.acme)
	require.ErrorIs(t, err, inspect.ErrUnreachable, "a wrong token is ours, not the caller's")

	b.engine.follow = make(chan tenants.LogLine)
	done := make(chan error, 1)
	go func() {
		done <- b.Logs(t.Context(), b.acme, tenants.LogQuery{Follow: true}, func(tenants.LogLine) error {
			b.server.CloseClientConnections()
			return nil
		})
	}()
	b.engine.follow <- tenants.LogLine{Text: "x"}
	require.ErrorIs(t, <-done, inspect.ErrUnreachable, "cut off in the middle")

	b.server.Close()
	_, err = b.Stats(t.Context(), b.acme)
	require.ErrorIs(t, err, inspect.ErrUnreachable)
	require.ErrorIs(t, b.Logs(t.Context(), b.acme, tenants.LogQuery{}, nil), inspect.ErrUnreachable)
	require.NotContains(t, err.Error(), b.token.Reveal())
}

func TestNew_RefusesWhatCantWork(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "worker:8002", "ftp://worker", "http://", "://"} {
		_, err := inspect.NewClient(address, "token")
		require.Error(t, err, address)
	}
	_, err := inspect.NewClient("http://worker:8002", "")
	require.Error(t, err)
	_, err = inspect.NewHandler(inspect.ServerDeps{})
	require.Error(t, err)
}

func TestServe_EndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	at := make(chan net.Addr, 1)
	done := make(chan error, 1)
	held := make(chan struct{})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		close(held)
		<-r.Context().Done()
	})
	go func() {
		done <- inspect.Serve(ctx, "127.0.0.1:0", handler, slog.New(slog.DiscardHandler), func(a net.Addr) { at <- a })
	}()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+(<-at).String(), nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = res.Body.Close() })
	<-held
	cancel()
	require.NoError(t, <-done, "one who follows doesn't hold it up")
	require.Error(t, inspect.Serve(t.Context(), "256.0.0.1:1", handler, slog.New(slog.DiscardHandler), nil))
}
