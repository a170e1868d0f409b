package edge

import (
	"errors"
	"hash/maphash"
	"io"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"

	"controlplane/internal/tenants"
)

const (
	limitBurst  = 20
	limitPerSec = 10

	limiterShards    = 16
	addressesByShard = 8 << 10

	apiBodyBytes          = 10 << 20
	maxAPIConnections     = 2000
	defaultBodyMB         = 128 // where a copy of the routes from an older edge doesn't say
	defaultMaxConnections = 200
)

// limiter lets each address make limitBurst calls at once and limitPerSec on average. It counts in this process alone and in bounded
// memory: a limit that needed a database would be gone when it is needed most. Several edges each allow as much.
type limiter struct {
	seed   maphash.Seed
	shards [limiterShards]struct {
		mu   sync.Mutex
		full map[netip.Prefix]time.Time // when an address will have made no calls, so to say
	}
}

func newLimiter() *limiter {
	l := &limiter{seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].full = map[netip.Prefix]time.Time{}
	}
	return l
}

// take counts one call. It returns how long the address has to wait: 0, and the call is allowed, or more, and it isn't counted.
func (l *limiter) take(address netip.Addr, now time.Time) time.Duration {
	if !address.IsValid() {
		return 0 // nobody known: a limit would hit everybody at once
	}
	const interval = time.Second / limitPerSec
	key := subscriber(address)
	shard := &l.shards[maphash.Comparable(l.seed, key)%limiterShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	full, known := shard.full[key]
	if !known && len(shard.full) >= addressesByShard {
		forget(shard.full, now)
	}
	if full.Before(now) {
		full = now
	}
	if wait := full.Sub(now) - (limitBurst-1)*interval; wait > 0 {
		return wait
	}
	shard.full[key] = full.Add(interval)
	return 0
}

// forget makes room: those whose calls are long past go first, and if that isn't enough, any. Whoever calls from so many addresses isn't
// held back by this limit anyway.
func forget(full map[netip.Prefix]time.Time, now time.Time) {
	for key, at := range full {
		if !at.After(now) {
			delete(full, key)
		}
	}
	for key := range full {
		if len(full) <= addressesByShard*3/4 {
			return
		}
		delete(full, key)
	}
}

// subscriber returns who an address belongs to: one IPv4 address, but the whole /64 that an IPv6 subscriber has.
func subscriber(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, _ := address.Prefix(bits) // fits
	return prefix
}

// maxBody returns how large a request to the tenant may be.
func (e *Edge) maxBody(route tenants.Route) int64 {
	mb := route.MaxBodyMB
	if mb <= 0 {
		mb = defaultBodyMB
	}
	limit := int64(mb) << 20
	if e.opts.MaxBodyBytes > 0 {
		limit = min(limit, e.opts.MaxBodyBytes)
	}
	return limit
}

// maxConnections returns how many requests and WebSockets of the tenant may be open at a time.
func maxConnections(route tenants.Route) int64 {
	if route.MaxConnections <= 0 {
		return defaultMaxConnections
	}
	return int64(route.MaxConnections)
}

// watchedBody is a request's body within its limit, which knows how much was read and why it ended.
type watchedBody struct {
	io.ReadCloser
	read int64
	err  error
}

// limitBody puts a limit on the body; false when it says of itself that it is larger.
func limitBody(w http.ResponseWriter, r *http.Request, limit int64) (*watchedBody, bool) {
	if r.ContentLength > limit {
		return nil, false
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, true
	}
	body := &watchedBody{ReadCloser: http.MaxBytesReader(w, r.Body, limit)}
	r.Body = body
	return body, true
}

// Read notes what came and how it ended.
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read += int64(n)
	if err != nil {
		b.err = err
	}
	return n, err
}

// broken reports whether what the client sent was no body at all, such as chunks that aren't.
func (b *watchedBody) broken() bool {
	return b != nil && b.err != nil && !errors.Is(b.err, io.EOF) && !errors.Is(b.err, http.ErrBodyReadAfterClose)
}

// tooSlow reports whether reading the body failed because too little came in time.
func (b *watchedBody) tooSlow() bool { return b != nil && errors.Is(b.err, os.ErrDeadlineExceeded) }
