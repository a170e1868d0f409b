package tenants

import (
	"context"
	"fmt"
	"sync"
	"time"

	"controlplane/internal/accounts"
)

const (
	countExactly = 1000 // admins' lists up to here are counted each time
	countAge     = 10 * time.Second
	countTimeout = 10 * time.Second
)

// counts are the lengths of admins' long lists, by condition. Counting a hundred thousand rows takes as long as fifty lists, so a long
// one is counted in the background, when somebody asks and it was counted a while ago. Losing them costs one count.
type counts struct {
	mu    sync.Mutex
	known map[string]*counted
}

type counted struct {
	n        int
	at       time.Time
	counting bool
}

// count returns how many tenants the listing has.
func (s *Service) count(ctx context.Context, p accounts.Principal, l listing) (int, error) {
	if !p.Admin {
		return s.countAll(ctx, l)
	}
	key := fmt.Sprint(l.where, l.args)
	n, known, stale := s.counts.get(key, s.clock())
	if !known {
		bounded := fmt.Sprintf(`SELECT count(*) FROM (SELECT FROM tenants WHERE %s LIMIT %d) first`, l.where, countExactly)
		if err := s.pool.QueryRow(ctx, bounded, l.args...).Scan(&n); err != nil {
			return 0, wrap(err, "count the clients")
		}
		if n < countExactly {
			return n, nil
		}
		return s.recount(ctx, key, l)
	}
	if stale {
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), countTimeout)
			defer cancel()
			_, _ = s.recount(ctx, key, l) // the old number serves until it works
		}()
	}
	return n, nil
}

func (s *Service) recount(ctx context.Context, key string, l listing) (int, error) {
	n, err := s.countAll(ctx, l)
	s.counts.set(key, n, s.clock(), err == nil)
	return n, err
}

func (s *Service) countAll(ctx context.Context, l listing) (int, error) {
	var n int
	err := s.pool.QueryRow(ctx, `SELECT count(*) FROM tenants WHERE `+l.where, l.args...).Scan(&n)
	return n, wrap(err, "count the clients")
}

// get returns what is known; stale asks one caller, not all of them, to count again.
func (c *counts) get(key string, now time.Time) (n int, known, stale bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, known := c.known[key]
	if !known {
		return 0, false, false
	}
	stale = !k.counting && now.Sub(k.at) > countAge
	k.counting = k.counting || stale
	return k.n, true, stale
}

// set keeps a number; one that couldn't be had leaves the old one, to be counted again.
func (c *counts) set(key string, n int, now time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[key]
	switch {
	case k == nil && !ok:
	case !ok:
		k.counting = false
	case n < countExactly:
		delete(c.known, key)
	default:
		c.known[key] = &counted{n: n, at: now}
	}
}
