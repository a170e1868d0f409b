package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/api"
	"controlplane/internal/tenants"
)

// sse is one event as a browser takes it.
type sse struct {
	id, kind string
	data     map[string]any
}

// reader reads a stream as a browser does, from a real server.
type reader struct {
	t        *testing.T
	response *http.Response
	hangUp   context.CancelFunc
	events   chan sse
	comments chan string
	ended    chan struct{}
	lastID   string // as of the events that were taken
}

// listen serves the API on a real socket and follows its events until the test ends.
func (b *bundle) listen() (url string, stop context.CancelFunc, done <-chan error) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { b.feed.Run(ctx) })
	b.t.Cleanup(func() { cancel(); running.Wait() })
	at, stop, done := serve(b.t, "127.0.0.1:0", b.handler)
	return "http://" + at, stop, done
}

func (b *bundle) open(url, token string, header ...string) *reader {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(b.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	require.NoError(b.t, err)
	r := &reader{
		t: b.t, response: res, hangUp: cancel, events: make(chan sse, 1000), comments: make(chan string, 1000), ended: make(chan struct{}),
	}
	b.t.Cleanup(func() { cancel(); _ = res.Body.Close(); <-r.ended })
	go r.read()
	return r
}

func (r *reader) read() {
	defer close(r.ended)
	defer close(r.events)
	var e sse
	for lines := bufio.NewScanner(r.response.Body); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		switch {
		case lines.Text() == "":
			if e.kind != "" {
				r.events <- e
			}
			e = sse{}
		case name == "":
			r.comments <- value
		case name == "id":
			e.id = value
		case name == "event":
			e.kind = value
		case name == "data":
			_ = json.Unmarshal([]byte(value), &e.data)
		}
	}
}

func (r *reader) next() sse {
	r.t.Helper()
	select {
	case e, open := <-r.events:
		require.True(r.t, open, "the stream has ended")
		if e.id != "" {
			r.lastID = e.id
		}
		return e
	case <-time.After(10 * time.Second):
		require.FailNow(r.t, "no event came")
	}
	return sse{}
}

func (r *reader) requireEnd() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		require.FailNow(r.t, "the stream goes on")
	}
}

// until takes events up to a client's move into a state, and returns all of them.
func (r *reader) until(state string) (all []sse) {
	r.t.Helper()
	for {
		e := r.next()
		all = append(all, e)
		if e.kind == "state" && e.data["to"] == state {
			return all
		}
	}
}

func (b *bundle) ticket(token string) string {
	b.t.Helper()
	a := b.post("/api/events/ticket", token, "")
	require.Equal(b.t, http.StatusOK, a.Status)
	ticket, _ := a.object()["ticket"].(string)
	return ticket
}

func TestEventsOfAClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	url, _, _ := b.listen()
	owner := b.user("ada")
	b.live(owner, "acme")
	r := b.open(url+"/api/clients/acme/events", owner)
	require.Equal(t, "text/event-stream", r.response.Header.Get("Content-Type"))
	require.Equal(t, "no-store", r.response.Header.Get("Cache-Control"))
	require.Equal(t, "ready", r.next().kind)
	require.NotEmpty(t, r.lastID)

	b.requireDone(b.act(owner, "acme", "suspend"))
	all := r.until("suspended")
	last := all[len(all)-1]
	require.Equal(t, []any{"acme", "active", "suspended by owner"}, []any{last.data["client_name"], last.data["from"], last.data["reason"]})
	var steps []any
	for _, e := range append(all, r.next()) {
		if e.kind == "operation" {
			require.Equal(t, "tenant.suspend", e.data["kind"])
			steps = append(steps, e.data["event"])
		}
	}
	require.Contains(t, steps, "started")
	seen := map[any]bool{}
	for _, e := range all {
		require.False(t, seen[e.data["id"]], "sent twice")
		seen[e.data["id"]] = true
	}
}

func TestEventsGoOnAfterABreak(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	url, _, _ := b.listen()
	owner := b.user("ada")
	b.live(owner, "acme")
	r := b.open(url+"/api/events", owner)
	require.Equal(t, "ready", r.next().kind)
	r.hangUp()
	r.requireEnd()
	b.requireDone(b.act(owner, "acme", "suspend"))
	b.requireDone(b.act(owner, "acme", "resume"))

	again := b.open(url+"/api/events", owner, "Last-Event-ID", r.lastID)
	var moves []any
	for _, e := range again.until("active") {
		if e.kind == "state" {
			moves = append(moves, e.data["to"])
		}
	}
	require.Equal(t, []any{"suspended", "active"}, moves, "what happened meanwhile, once and in order")

	inQuery := b.open(url+"/api/events?last_event_id="+r.lastID+"&ticket="+b.ticket(owner), "")
	inQuery.until("suspended")
	inQuery.until("active")

	lost := b.open(url+"/api/events", owner, "Last-Event-ID", "garbage")
	require.Equal(t, "reset", lost.next().kind)
}

func TestEventsAreTheOwnersOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	url, _, _ := b.listen()
	ada, bob, admin := b.user("ada"), b.user("bob"), b.admin()
	b.live(ada, "acme")
	b.live(bob, "bobs")
	require.Equal(t, http.StatusNotFound, b.open(url+"/api/clients/acme/events", bob).response.StatusCode)
	ofAda, ofBob, ofAdmin := b.open(url+"/api/events", ada), b.open(url+"/api/events", bob), b.open(url+"/api/events", admin)
	for _, r := range []*reader{ofAda, ofBob, ofAdmin} {
		require.Equal(t, "ready", r.next().kind)
	}
	b.requireDone(b.act(ada, "acme", "suspend"))
	b.requireDone(b.act(bob, "bobs", "suspend"))
	for name, r := range map[string]*reader{"acme": ofAda, "bobs": ofBob} {
		for _, e := range r.until("suspended") {
			require.Equal(t, name, e.data["client_name"])
		}
	}
	names := map[any]bool{}
	for _, e := range append(ofAdmin.until("suspended"), ofAdmin.until("suspended")...) {
		names[e.data["client_name"]] = true
	}
	require.Equal(t, map[any]bool{"acme": true, "bobs": true}, names)
}

func TestATicketIsGoodOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, _, _ := b.listen()
	owner, stranger := b.user("ada"), b.user("bob")
	b.client(owner, "acme")
	a := b.post("/api/events/ticket", owner, "")
	expires, err := time.Parse(time.RFC3339, a.object()["expires_at"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Minute), expires, 5*time.Second)

	ticket, _ := a.object()["ticket"].(string)
	r := b.open(url+"/api/clients/acme/events?ticket="+ticket, "")
	require.Equal(t, "ready", r.next().kind)
	reused := b.get("/api/clients/acme/events?ticket="+ticket, "")
	require.Equal(t, http.StatusUnauthorized, reused.Status)
	require.Equal(t, http.StatusUnauthorized, b.get("/api/events?ticket="+ticket, owner).Status, "also beside a token")
	require.Equal(t, http.StatusNotFound, b.get("/api/clients/acme/events?ticket="+b.ticket(stranger), "").Status)
	for _, bad := range []string{"x", "et_", "%00", "%ff", strings.Repeat("a", 10_000), "et_" + strings.Repeat("A", 43)} {
		b.requireRefused(bad, b.get("/api/events?ticket="+bad, ""))
	}
	require.Equal(t, http.StatusUnauthorized, b.get("/api/clients?ticket="+b.ticket(owner), "").Status, "it opens streams only")

	fresh := b.ticket(owner)
	require.Equal(t, http.StatusMethodNotAllowed, b.do(request{method: http.MethodHead, path: "/api/events?ticket=" + fresh}).Status)
	require.Equal(t, http.StatusOK, b.open(url+"/api/events?ticket="+fresh, "").response.StatusCode, "HEAD doesn't use it up")
	for _, secret := range []string{ticket, fresh} {
		require.NotContains(t, b.log.String(), secret)
	}
}

func TestStreamsEndWithTheirSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, _, _ := b.listen()
	owner := b.user("ada")
	other := b.login("ada")
	b.client(owner, "acme")
	byToken, byTicket := b.open(url+"/api/events", owner), b.open(url+"/api/clients/acme/events?ticket="+b.ticket(owner), "")
	stays := b.open(url+"/api/events", other)
	for _, r := range []*reader{byToken, byTicket, stays} {
		require.Equal(t, "ready", r.next().kind)
	}
	unused := b.ticket(owner)
	require.Equal(t, http.StatusOK, b.post("/api/auth/logout", owner, "").Status)
	byToken.requireEnd()
	byTicket.requireEnd()
	require.Equal(t, http.StatusUnauthorized, b.get("/api/events?ticket="+unused, "").Status, "its tickets end, too")
	b.client(other, "later")
	require.Equal(t, "state", stays.next().kind)
}

// A process that isn't told of the end of a session finds it out at the next heartbeat.
func TestStreamsFindOutThatTheirSessionHasEnded(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Streams.Heartbeat = 50 * time.Millisecond })
	at, _, _ := serve(t, "127.0.0.1:0", b.handler) // nobody listens to the database
	owner := b.user("ada")
	r := b.open("http://"+at+"/api/events", owner)
	require.Equal(t, "ready", r.next().kind)
	select {
	case <-r.comments:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "no heartbeat")
	}
	b.client(owner, "acme")
	require.Equal(t, "state", r.next().kind, "a heartbeat looks for events, too")
	require.Equal(t, http.StatusOK, b.post("/api/auth/logout", owner, "").Status)
	r.requireEnd()
}

func TestStreamsAreLimited(t *testing.T) {
	t.Parallel()
	b := setup(t, func(_ *api.Deps, o *api.Options) { o.Streams.PerAccount, o.Streams.InAll = 2, 3 })
	url, _, _ := b.listen()
	ada, bob := b.user("ada"), b.user("bob")
	first, second := b.open(url+"/api/events", ada), b.open(url+"/api/events", ada)
	require.Equal(t, "ready", second.next().kind)
	a := b.get("/api/events", ada)
	require.Equal(t, http.StatusTooManyRequests, a.Status)
	require.NotEmpty(t, a.Header.Get("Retry-After"))
	third := b.open(url+"/api/events", bob)
	require.Equal(t, "ready", third.next().kind)
	require.Equal(t, http.StatusTooManyRequests, b.get("/api/events", bob).Status)
	first.hangUp()
	first.requireEnd()
	eventually(t, func() bool { return b.open(url+"/api/events", ada).response.StatusCode == http.StatusOK })
}

func TestStreamsDontKeepTheServerFromStopping(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, stop, done := b.listen()
	r := b.open(url+"/api/events", b.user("ada"))
	require.Equal(t, "ready", r.next().kind)
	stop()
	r.requireEnd()
	select {
	case err := <-done:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		require.FailNow(t, "the server waits for a stream")
	}
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work()
	url, _, _ := b.listen()
	owner, admin := b.user("ada"), b.admin()
	b.live(owner, "acme")
	r := b.open(url+"/api/clients/acme/events", owner)
	require.Equal(t, "ready", r.next().kind)
	require.Equal(t, http.StatusOK, b.do(request{method: http.MethodDelete, path: "/api/clients/acme", token: admin}).Status)
	r.until("deleted")
	r.requireEnd()
}

func TestLogsOfAClient(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner, stranger := b.user("ada"), b.user("bob")
	b.client(owner, "acme")
	at := time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC)
	b.worker.lines = []tenants.LogLine{{At: at, Stream: "stderr", Text: "one"}, {At: at, Stream: "stdout", Text: `two "quoted"`}}
	a := b.get("/api/clients/acme/logs", owner)
	require.Equal(t, http.StatusOK, a.Status)
	require.Equal(t, "text/plain; charset=utf-8", a.Header.Get("Content-Type"))
	require.Equal(t, "one\ntwo \"quoted\"\n", string(a.Body))
	a = b.get("/api/clients/acme/logs?lines=1&format=json", owner)
	require.Equal(t, "application/x-ndjson", a.Header.Get("Content-Type"))
	require.JSONEq(t, `{"at":"2026-03-01T12:00:00.000005Z","stream":"stdout","text":"two \"quoted\""}`, string(a.Body))
	require.Equal(t, tenants.LogQuery{Tail: 1}, b.worker.asked[1])
	require.Equal(t, http.StatusNotFound, b.get("/api/clients/acme/logs", stranger).Status)
	for _, q := range []string{"lines=0", "lines=5001", "lines=-1", "lines=all", "follow=maybe", "format=xml", "lines=%00", "format=%ff"} {
		require.Equal(t, http.StatusUnprocessableEntity, b.get("/api/clients/acme/logs?"+q, owner).Status, q)
	}
}

func TestLogsAreFollowed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	url, _, _ := b.listen()
	owner := b.user("ada")
	b.client(owner, "acme")
	b.worker.lines = []tenants.LogLine{{Text: "one"}}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/api/clients/acme/logs?follow=1&ticket="+b.ticket(owner), nil)
	require.NoError(t, err)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	lines := bufio.NewReader(res.Body)
	for _, want := range []string{"one\n", "two\n", "three\n"} {
		got, err := lines.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, want, got)
		if next, ok := map[string]string{"one\n": "two", "two\n": "three"}[want]; ok {
			b.worker.live <- tenants.LogLine{Text: next}
		}
	}
	require.Equal(t, http.StatusOK, b.post("/api/auth/logout", owner, "").Status)
	_, err = lines.ReadString('\n')
	require.ErrorIs(t, err, io.EOF, "it ends with the session")
}
