package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/feed"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// ticketAnswer holds a plain string: it is where the ticket leaves for its user.
type ticketAnswer struct {
	Ticket    string   `json:"ticket"`
	ExpiresAt wireTime `json:"expires_at"`
}

// The data of events. Times are when it happened; ids let a client that was sent something twice see that.
type (
	stateEvent struct {
		ID         string        `json:"id"`
		At         wireTime      `json:"at"`
		ClientName string        `json:"client_name"`
		From       *string       `json:"from"`
		To         tenants.State `json:"to"`
		Reason     string        `json:"reason"`
	}
	stepEvent struct {
		ID          string   `json:"id"`
		At          wireTime `json:"at"`
		ClientName  string   `json:"client_name"`
		OperationID ops.ID   `json:"operation_id"`
		Kind        string   `json:"kind"`
		Step        string   `json:"step"`
		Event       string   `json:"event"`
		Attempt     int      `json:"attempt"`
		Message     *string  `json:"message"`
	}
)

// Events that are about the stream itself.
const (
	eventReady = "ready" // it begins here; read the state of things now
	eventReset = "reset" // something was missed; read the state of things again
)

func (s *server) eventRoutes(r chi.Router) {
	r.Post("/api/events/ticket", s.user(s.issueTicket))
	r.Get("/api/events", s.stream(s.allEvents))
	r.Head("/api/events", s.methodNotAllowed) // would use up a ticket, and show nothing
	r.Get(oneClient+"/events", s.stream(s.clientEvents))
	r.Head(oneClient+"/events", s.methodNotAllowed)
}

func (s *server) issueTicket(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "ticket", s.opts.Rates.Tickets); err != nil {
		return err
	}
	t, err := s.deps.Accounts.IssueTicket(r.Context(), p)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, ticketAnswer{Ticket: t.Secret.Reveal(), ExpiresAt: wireTime(t.ExpiresAt)})
}

// allEvents follows the caller's clients, and everybody's for an admin.
func (s *server) allEvents(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	scope := feed.Scope{Account: p.AccountID}
	if p.Admin {
		scope = feed.Scope{}
	}
	return s.follow(w, r, p, scope)
}

func (s *server) clientEvents(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	t, err := s.client(r, p)
	if err != nil {
		return err
	}
	return s.follow(w, r, p, feed.Scope{Tenant: t.ID})
}

// follow sends what happens until the stream's end: of its time, of the caller's session, or of the client that it is about.
func (s *server) follow(w http.ResponseWriter, r *http.Request, p accounts.Principal, scope feed.Scope) error {
	ctx := r.Context()
	after, err := lastEventID(r)
	if err != nil {
		return err
	}
	follower := s.deps.Feed.Follow(scope, p.SessionID)
	defer follower.Close()
	batch, err := s.readEvents(ctx, scope, after)
	if err != nil {
		return err
	}
	out := newPipe(w, "text/event-stream")
	if err := out.write(opening(after, batch)); err != nil {
		return nil //nolint:nilerr // the caller has gone
	}
	heartbeat := time.NewTicker(s.opts.Streams.Heartbeat)
	defer heartbeat.Stop()
	for {
		body, over := encodeEvents(scope, batch)
		if err := out.write(body); err != nil || over {
			return nil //nolint:nilerr // the caller has gone
		}
		beat := false
		select {
		case <-ctx.Done():
			return nil
		case <-follower.Ended():
			return nil
		case <-heartbeat.C:
			if beat = true; !s.stillThere(ctx, p) {
				return nil
			}
		case <-follower.Wake():
		}
		// A look at each heartbeat, too, makes up for what nobody was woken for. While the database is away the stream is silent.
		next, err := s.readEvents(ctx, scope, batch.Next)
		if err != nil {
			next = feed.Batch{Next: batch.Next}
		}
		if batch = next; beat && len(batch.Events) == 0 {
			if err := out.write([]byte(": alive\n\n")); err != nil {
				return nil //nolint:nilerr // the caller has gone
			}
		}
	}
}

func (s *server) readEvents(ctx context.Context, scope feed.Scope, after feed.Cursor) (feed.Batch, error) {
	ctx, cancel := context.WithTimeout(ctx, streamRead)
	defer cancel()
	return s.deps.Feed.Read(ctx, scope, after)
}

// lastEventID is where a client that comes back was. A browser sends the header by itself, but for a ticket it has to begin anew.
func lastEventID(r *http.Request) (feed.Cursor, error) {
	q := parseQuery(r)
	id := q.text("last_event_id")
	if header := r.Header.Get("Last-Event-ID"); header != "" {
		id = header
	}
	return feed.Cursor(id), q.err
}

// opening tells how soon to come back and, to a new follower, from where.
func opening(after feed.Cursor, b feed.Batch) []byte {
	out := bytes.NewBufferString("retry: 3000\n\n")
	if after == "" {
		writeEvent(out, eventReady, b.Next, struct{}{})
	}
	return out.Bytes()
}

// encodeEvents puts the id on the last event only: a client that loses the connection in the midst of a batch gets all of it again
// instead of too little. over is true when nothing can follow.
func encodeEvents(scope feed.Scope, b feed.Batch) (body []byte, over bool) {
	var out bytes.Buffer
	if b.Lost {
		writeEvent(&out, eventReset, b.Next, struct{}{})
	}
	for i, e := range b.Events {
		id := feed.Cursor("")
		if i == len(b.Events)-1 {
			id = b.Next
		}
		writeEvent(&out, string(e.Kind), id, eventData(e))
		over = over || scope.Tenant != 0 && e.To == tenants.Deleted
	}
	return out.Bytes(), over
}

func eventData(e feed.Event) any {
	if e.Kind == feed.StateChange {
		return stateEvent{
			ID: e.ID, At: wireTime(e.At), ClientName: e.Tenant, From: orNull(string(e.From)), To: e.To, Reason: e.Reason,
		}
	}
	return stepEvent{
		ID: e.ID, At: wireTime(e.At), ClientName: e.Tenant, OperationID: e.Operation, Kind: e.OperationKind, Step: e.Step,
		Event: e.Event, Attempt: e.Attempt, Message: orNull(e.Message),
	}
}

func writeEvent(out *bytes.Buffer, kind string, id feed.Cursor, data any) {
	body, err := json.Marshal(data)
	if err != nil { // structs of plain values always encode
		return
	}
	if id != "" {
		_, _ = fmt.Fprintf(out, "id: %s\n", id)
	}
	_, _ = fmt.Fprintf(out, "event: %s\ndata: %s\n\n", kind, body) // JSON has no line breaks
}
