package provision

import (
	"context"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/tenants"
)

const (
	healthTimeout = 10 * time.Second // an Odoo under load may be slow and is well
	healthProbes  = 8                // at the same time
)

// health remembers how often in a row tenants missed a probe. A worker that takes over begins anew.
type health struct {
	mu     sync.Mutex
	misses map[tenants.ID]int
}

func newHealth() *health { return &health{misses: map[tenants.ID]int{}} }

// probe asks all of them and notes their misses; who isn't asked is forgotten.
func (h *health) probe(ctx context.Context, p *prober, running []*TenantView) {
	var g errgroup.Group
	g.SetLimit(healthProbes)
	for _, v := range running {
		g.Go(func() error {
			bounded, cancel := context.WithTimeout(ctx, healthTimeout)
			defer cancel()
			base := "http://" + net.JoinHostPort(addressOf(v.tenant(), v.Subnet).String(), strconv.Itoa(httpPort))
			if p.healthy(bounded, base, "") != nil {
				v.Misses = 1
			}
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.misses
	h.misses = map[tenants.ID]int{}
	for _, v := range running {
		if v.Misses > 0 && ctx.Err() == nil {
			v.Misses += before[v.ID]
			h.misses[v.ID] = v.Misses
		}
	}
}

// restarted begins to count anew.
func (h *health) restarted(id tenants.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.misses, id)
}
