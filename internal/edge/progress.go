package edge

import (
	"context"
	"sync"
	"time"

	"controlplane/internal/tenants"
)

const (
	progressFresh   = time.Second
	progressTimeout = 500 * time.Millisecond
	progressKept    = 1000
)

// progress is how far a tenant has come on its way to being reachable.
type progress struct {
	Text string `json:"text"`
	Done int    `json:"done"`
	Of   int    `json:"of"`
}

// steps are those of the operations that make or start a tenant, by their names.
var steps = map[string]progress{ //nolint:gochecknoglobals // a constant table
	"reserve": {"Choosing its place", 0, 5},
	"create":  {"Creating its database", 1, 5},
	"prepare": {"Putting things in place", 1, 5},
	"start":   {"Starting Odoo", 2, 5},
	"wait":    {"Waiting for Odoo's first answer", 3, 5},
	"publish": {"Opening its address", 4, 5},
}

// progressBook asks how far tenants are, at most once a second for each, however many are looking.
type progressBook struct {
	ask func(context.Context, tenants.ID) (string, error) // nil: nobody knows

	mu    sync.Mutex
	known map[tenants.ID]*progressEntry
}

type progressEntry struct {
	mu sync.Mutex
	at time.Time
	is *progress
}

func newProgressBook(ask func(context.Context, tenants.ID) (string, error)) *progressBook {
	return &progressBook{ask: ask, known: map[tenants.ID]*progressEntry{}}
}

// of returns how far a tenant is, nil when that can't be said: the page then does without.
func (b *progressBook) of(ctx context.Context, id tenants.ID) *progress {
	if b.ask == nil {
		return nil
	}
	entry := b.entry(id)
	entry.mu.Lock()
	defer entry.mu.Unlock()
	if time.Since(entry.at) < progressFresh {
		return entry.is
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), progressTimeout)
	defer cancel()
	step, err := b.ask(ctx, id)
	entry.at, entry.is = time.Now(), nil
	if p, known := steps[step]; err == nil && known {
		entry.is = &p
	}
	return entry.is
}

func (b *progressBook) entry(id tenants.ID) *progressEntry {
	b.mu.Lock()
	defer b.mu.Unlock()
	entry, ok := b.known[id]
	if !ok {
		if len(b.known) >= progressKept {
			clear(b.known)
		}
		entry = new(progressEntry)
		b.known[id] = entry
	}
	return entry
}
