package prove_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/test/rig"
)

const (
	boundedOutage = 6 * time.Second
	fullOutage    = time.Minute
	buyEvery      = 2 * time.Second
	mostBought    = 12
	convergeIn    = 4 * time.Minute // waits between attempts double while something is away
)

// outage is something that goes away and comes back.
type outage struct {
	name     string
	down, up func(context.Context) error
}

func outages(w *world) []outage {
	container := func(role, what string) func(context.Context) error {
		return func(ctx context.Context) error { _, err := rig.Docker(ctx, what, w.Database(role)); return err }
	}
	return []outage{
		{"engine", func(context.Context) error { return w.Engine.Down() }, func(context.Context) error { return w.Engine.Up() }},
		{"platform database", container("platform", "kill"), container("platform", "start")},
		{"tenants' database", container("tenants", "kill"), container("tenants", "start")},
		{"gateway", func(context.Context) error { w.KillGateway(); return nil }, func(context.Context) error { return w.StartGateway() }},
	}
}

// TestOutages takes away one thing after another while customers buy, suspend and resume.
func TestOutages(t *testing.T) {
	for _, name := range []string{"engine", "platform database", "tenants' database", "gateway"} {
		t.Run(name, func(t *testing.T) {
			for _, o := range outages(shared) {
				if o.name == name {
					endure(t, o)
				}
			}
		})
	}
}

func endure(t *testing.T, o outage) {
	ctx, length := t.Context(), boundedOutage
	if all {
		length = fullOutage
	}
	steady, err := shared.house(ctx)
	require.NoError(t, err)
	l := &load{world: shared}
	during, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { l.buy(during) })
	wg.Go(func() { l.toggle(during) })
	wait(ctx, 2*buyEvery)
	require.NoError(t, o.down(ctx))
	served := shared.served(ctx, steady, length)
	require.NoError(t, o.up(ctx))
	back := time.Now()
	wait(ctx, 2*buyEvery)
	stop()
	wg.Wait()
	err = rig.Eventually(ctx, convergeIn, l.converged)
	took := time.Since(back)
	require.NoError(t, err)
	fmt.Printf("outage: %s away for %.0f s: %d clients bought meanwhile, %d suspended and resumed, steady client served %s; all converged %.0f s after its return\n",
		o.name, length.Seconds(), len(l.bought), l.toggled, served, took.Seconds())
	for _, c := range l.bought {
		require.NoError(t, remove(ctx, shared, subject{tenant: c}))
	}
	require.NoError(t, shared.orphans(ctx))
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// served asks a client that nothing is done to for its health, through the edge, for so long.
func (w *world) served(ctx context.Context, t tenant, length time.Duration) string {
	good, asked := 0, 0
	for end := time.Now().Add(length); time.Now().Before(end); wait(ctx, 100*time.Millisecond) {
		asked++
		if status, _, err := w.Visit(ctx, t.Name, "/web/health"); err == nil && status == http.StatusOK {
			good++
		}
	}
	return fmt.Sprintf("%d of %d times", good, asked)
}

// load is what customers do meanwhile. Much of it fails; what went through has to become true.
type load struct {
	*world

	mu      sync.Mutex
	bought  []tenant
	toggled int
}

func (l *load) buy(ctx context.Context) {
	for n := 0; ctx.Err() == nil && n < mostBought; wait(ctx, buyEvery) {
		owner, err := l.SignUp(ctx)
		if err != nil {
			continue
		}
		name, err := owner.Buy(ctx, plan)
		if err != nil {
			continue
		}
		n++
		_ = rig.Eventually(context.WithoutCancel(ctx), fullOutage*2, func(ctx context.Context) error { // its database may be away now
			t, err := l.tenant(ctx, name)
			if err == nil {
				l.mu.Lock()
				l.bought = append(l.bought, t)
				l.mu.Unlock()
			}
			return err
		})
	}
}

// toggle suspends and resumes what was bought, and forgets what it was told: the row says what is wanted.
func (l *load) toggle(ctx context.Context) {
	for n := 0; ctx.Err() == nil; wait(ctx, buyEvery/4) {
		l.mu.Lock()
		bought := l.bought
		l.mu.Unlock()
		if len(bought) == 0 {
			continue
		}
		t := bought[n%len(bought)]
		for _, what := range []string{"suspend", "resume"} {
			a, err := l.admin.Do(ctx, http.MethodPost, "/api/clients/"+t.Name+"/"+what, nil)
			if errors.Join(err, a.OK()) == nil {
				l.toggled++
			}
		}
		n++
	}
}

// converged says that each client is what is wanted of it, in truth and not only in its row.
func (l *load) converged(ctx context.Context) error {
	for _, t := range l.bought {
		var desired string
		if err := l.Pool.QueryRow(ctx, "SELECT desired FROM tenants WHERE id = $1", t.ID).Scan(&desired); err != nil {
			return err
		}
		if desired == "suspended" {
			if err := l.stopped(ctx, t, "suspended"); err != nil {
				return err
			}
			continue
		}
		if err := l.active(ctx, t); err != nil {
			return err
		}
	}
	return nil
}
