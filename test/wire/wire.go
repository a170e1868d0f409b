// Package wire has proxies that stand between the control plane and what it works with: the container engine, PostgreSQL and the store of backups. They see each
// single call, and can stop the world at any point of it, which is how the kill matrix hits exactly the moment that it means to.
package wire

import "sync"

// Phase is a point in a call's life.
type Phase string

// The phases of a call, in their order.
const (
	Before Phase = "before" // the server hasn't seen it
	During Phase = "during" // the server has it all, and hasn't been heard
	After  Phase = "after"  // the server is done, and the caller doesn't know
)

// Call is one request to a server and its answer.
type Call struct {
	Server string   // "engine", "platform", "tenants", "store"
	Text   string   // "POST /containers/create?name=…", or the SQL
	Raw    string   // what was sent, arguments included, as far as it is short
	Conn   int64    // calls with the same number came over the same connection, one after another; those of HTTP have none
	InTx   bool     // of a database: before the call a transaction was open
	Args   []string // of a statement, as they were sent: text, or PostgreSQL's binary form
}

// Hook is called at each phase of each call, which waits meanwhile. It returns true to break the connection there and then.
type Hook func(c Call, p Phase) (cut bool)

// gate holds the hook of a proxy.
type gate struct {
	mu   sync.RWMutex
	hook Hook
}

// SetHook replaces the hook; nil takes it away.
func (g *gate) SetHook(h Hook) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hook = h
}

func (g *gate) at(c Call, p Phase) bool {
	g.mu.RLock()
	h := g.hook
	g.mu.RUnlock()
	return h != nil && h(c, p)
}

const maxRaw = 64 << 10

func short(b []byte) string { return string(b[:min(len(b), maxRaw)]) }
