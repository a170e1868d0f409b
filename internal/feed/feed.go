// Package feed follows what happens to tenants, moves between states and steps of operations, as it is committed. One connection per
// process listens and wakes followers; what they read is told apart by database snapshots, so that nothing is missed and nothing is
// read twice, also after a break and in another process.
package feed

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/accounts"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// Kind is what an event is about.
type Kind string

// The kinds of events.
const (
	StateChange   Kind = "state"     // a tenant moved; From, To and Reason say how
	OperationStep Kind = "operation" // a line of an operation's log; Operation and what follows it
)

// Event is one thing that happened to a tenant, as its owner may read it.
type Event struct {
	ID       string // unique, "t17" or "o233"
	Kind     Kind
	At       time.Time
	TenantID tenants.ID
	Tenant   string // its name

	From   tenants.State // "" for the first
	To     tenants.State
	Reason string

	Operation     ops.ID
	OperationKind string
	Step          string
	Event         string // as in ops.Event
	Attempt       int
	Message       string
}

// Scope is whose events a follower gets: one tenant's, or else those of an account's tenants, or else all.
type Scope struct {
	Tenant  tenants.ID
	Account accounts.ID
}

// Deps is what a Feed works with; all are required.
type Deps struct {
	Pool *pgxpool.Pool
	Log  *slog.Logger
}

// Options tune a Feed; zero values mean the defaults.
type Options struct {
	Resync time.Duration // how often the listening connection is tried when nothing arrives; default 30 s
}

// Feed wakes followers while Run runs. It is safe for concurrent use.
type Feed struct {
	pool *pgxpool.Pool
	log  *slog.Logger
	opts Options

	mu        sync.Mutex
	followers map[*Follower]struct{}
}

// New returns a Feed. It doesn't connect.
func New(deps Deps, opts Options) (*Feed, error) {
	if deps.Pool == nil || deps.Log == nil {
		return nil, errors.New("a feed needs a pool and a logger")
	}
	if opts.Resync == 0 {
		opts.Resync = 30 * time.Second
	}
	return &Feed{pool: deps.Pool, log: deps.Log, opts: opts, followers: map[*Follower]struct{}{}}, nil
}

// Follower is told when it is worth reading. Being told twice, or for nothing, does no harm.
type Follower struct {
	feed    *Feed
	scope   Scope
	session string
	wake    chan struct{}
	ended   chan struct{}
	once    sync.Once
}

// Follow adds a follower until its Close. Session, if not "", is the session whose end ends it.
func (f *Feed) Follow(scope Scope, session string) *Follower {
	follower := &Follower{feed: f, scope: scope, session: session, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followers[follower] = struct{}{}
	return follower
}

// Wake receives when there may be something new.
func (fo *Follower) Wake() <-chan struct{} { return fo.wake }

// Ended is closed when the follower's session was ended.
func (fo *Follower) Ended() <-chan struct{} { return fo.ended }

// Close forgets the follower.
func (fo *Follower) Close() {
	fo.feed.mu.Lock()
	defer fo.feed.mu.Unlock()
	delete(fo.feed.followers, fo)
}

func (fo *Follower) poke() {
	select {
	case fo.wake <- struct{}{}:
	default: // it is awake already
	}
}

// wakeAll is for when nobody knows what was missed.
func (f *Feed) wakeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for follower := range f.followers {
		follower.poke()
	}
}

// tell passes a notification on to those whom it concerns: "<account> <tenant>" or "session <id>".
func (f *Feed) tell(payload string) {
	who, what, _ := strings.Cut(payload, " ")
	f.mu.Lock()
	defer f.mu.Unlock()
	if who == "session" {
		for follower := range f.followers {
			if follower.session == what && what != "" {
				follower.once.Do(func() { close(follower.ended) })
			}
		}
		return
	}
	account, err := strconv.ParseInt(who, 10, 64)
	if err != nil {
		return
	}
	tenant, err := strconv.ParseInt(what, 10, 64)
	if err != nil {
		return
	}
	for follower := range f.followers {
		if follower.scope.covers(accounts.ID(account), tenants.ID(tenant)) {
			follower.poke()
		}
	}
}

func (s Scope) covers(account accounts.ID, tenant tenants.ID) bool {
	switch {
	case s.Tenant != 0:
		return s.Tenant == tenant
	case s.Account != 0:
		return s.Account == account
	}
	return true
}
