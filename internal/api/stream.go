package api

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
)

// StreamLimits bound answers that don't end by themselves. Zero values mean the defaults.
type StreamLimits struct {
	PerAccount int           // at the same time, in this process; default 10
	InAll      int           // default 1000
	Heartbeat  time.Duration // how often a silent stream shows that it is alive, and looks whether its session is; default 15 s
	MaxAge     time.Duration // clients come back after it, perhaps to another replica; default 1 h
}

func (l StreamLimits) withDefaults() StreamLimits {
	l.PerAccount, l.InAll = cmp.Or(l.PerAccount, 10), cmp.Or(l.InAll, 1000)
	l.Heartbeat, l.MaxAge = cmp.Or(l.Heartbeat, 15*time.Second), cmp.Or(l.MaxAge, time.Hour)
	return l
}

const (
	// streamWrite is how long a reader may take for one piece; one who doesn't read is cut off.
	streamWrite = 30 * time.Second
	// streamRead bounds one look into the database.
	streamRead = 10 * time.Second
	// streamRetry is when someone whose streams are all in use may try again.
	streamRetry = 10 * time.Second
)

var errTooManyStreams = errs.New(errs.RateLimited, "too_many_streams", "You have too many open streams. Close one before you open another.")

// streams counts what is open.
type streams struct {
	limits StreamLimits

	mu    sync.Mutex
	inAll int
	of    map[accounts.ID]int
}

func newStreams(limits StreamLimits) *streams {
	return &streams{limits: limits, of: map[accounts.ID]int{}}
}

func (s *streams) enter(id accounts.ID) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inAll >= s.limits.InAll || s.of[id] >= s.limits.PerAccount {
		return nil, errTooManyStreams.WithRetryAfter(streamRetry)
	}
	s.inAll++
	s.of[id]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inAll--
		if s.of[id]--; s.of[id] == 0 {
			delete(s.of, id)
		}
	}, nil
}

// stream serves h like user does, but for as long as its limits allow, until the caller leaves, or until the server stops. Where a
// browser can't send a token, a ticket in the query does.
func (s *server) stream(h userHandler) http.HandlerFunc {
	known := s.known(s.ticketOrToken, func(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
		leave, err := s.streams.enter(p.AccountID)
		if err != nil {
			return err
		}
		defer leave()
		return h(w, r, p)
	})
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.opts.Streams.MaxAge)
		defer cancel()
		go func() {
			select {
			case <-draining(ctx):
				cancel()
			case <-ctx.Done():
			}
		}()
		s.serve(w, r.WithContext(ctx), known)
	}
}

// ticketOrToken uses a ticket up even if the caller has a token too: it was in a URL.
func (s *server) ticketOrToken(r *http.Request) (accounts.Principal, error) {
	q := parseQuery(r)
	ticket := q.secret("ticket")
	if q.err != nil {
		return accounts.Principal{}, q.err
	}
	if ticket == "" {
		return s.principal(r)
	}
	return s.deps.Accounts.RedeemTicket(r.Context(), ticket)
}

// stillThere reads again whether a stream's caller may go on. Not knowing isn't a reason to end it.
func (s *server) stillThere(ctx context.Context, p accounts.Principal) bool {
	ctx, cancel := context.WithTimeout(ctx, streamRead)
	defer cancel()
	fresh, err := s.deps.Accounts.Renew(ctx, p)
	if errors.Is(err, accounts.ErrBadToken) {
		return false
	}
	return err != nil || fresh.Admin == p.Admin
}

// pipe writes an endless answer piece by piece. The first piece brings the header, so that until then errors can be told.
type pipe struct {
	w       http.ResponseWriter
	control *http.ResponseController
	kind    string
	begun   bool
}

func newPipe(w http.ResponseWriter, kind string) *pipe {
	return &pipe{w: w, control: http.NewResponseController(w), kind: kind}
}

// begin sends the header, once. The server's time-outs are for ordinary requests.
func (p *pipe) begin() error {
	if p.begun {
		return nil
	}
	p.begun = true
	_ = p.control.SetReadDeadline(time.Time{}) // a writer without deadlines has none to lift
	h := p.w.Header()
	h.Set("Content-Type", p.kind)
	h.Set("X-Accel-Buffering", "no") // or a proxy would collect what is to be seen at once
	p.w.WriteHeader(http.StatusOK)
	return p.flush()
}

func (p *pipe) write(piece []byte) error {
	if err := p.begin(); err != nil || len(piece) == 0 {
		return err
	}
	_ = p.control.SetWriteDeadline(time.Now().Add(streamWrite)) // as above
	if _, err := p.w.Write(piece); err != nil {
		return err //nolint:wrapcheck // tells nothing but that the caller has gone
	}
	return p.flush()
}

func (p *pipe) flush() error {
	if err := p.control.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err //nolint:wrapcheck // as above
	}
	return nil
}
