package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"controlplane/test/rig"
)

const (
	ours             = "our edge"
	clients          = 10_000
	domainsPerClient = 2
	startTarget      = 2 * time.Second
	memoryTarget     = 200 // MB
	changeTarget     = 100 * time.Millisecond
	ratioTarget      = 0.9
	changeCount      = 1000
	watchers         = 4
	startWait        = time.Minute
	seenWait         = 10 * time.Second
)

// bench is an edge of its own with a full table.
type bench struct {
	rig            *rig.Rig
	up, other      *upstream
	edge           *rig.Process
	address        string
	metrics, state string
}

// fill makes the clients, all of them running at the upstream.
func fill(ctx context.Context, r *rig.Rig, port int) error {
	for _, statement := range []string{
		`INSERT INTO accounts (email, email_key, username, username_key, password_hash)
			SELECT n || '@example.com', n || '@example.com', n, n, 'none' FROM (SELECT 'bulk' || g AS n FROM generate_series(1, $1::int) g) s WHERE $2::int > 0`,
		`INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, desired, payment_deadline, paid_at, address, http_port, event_port)
			SELECT a.id, 'bulk-' || g, 'odoo_bulk_' || g, 'bulk-' || g || '.localhost', 'bulk@example.com', 'enterprise', 'active', 'active', now(), now(),
				'127.0.0.1', $2::int, $2::int
			FROM generate_series(1, $1::int) g JOIN accounts a ON a.username = 'bulk' || g`,
		`INSERT INTO tenant_domains (tenant_id, domain, display, token, status, created_at, verified_at, next_check_at)
			SELECT t.id, 'shop' || d || '.' || t.name || '.example.com', 'shop' || d || '.' || t.name || '.example.com', md5(t.name || d), 'live', now(), now(),
				now() + interval '1 day'
			FROM tenants t, generate_series(1, ` + strconv.Itoa(domainsPerClient) + `) d WHERE t.name LIKE 'bulk-%' AND $1::int + $2::int > 0`,
	} {
		if _, err := r.Pool.Exec(ctx, statement, clients, port); err != nil {
			return err
		}
	}
	_, err := r.Pool.Exec(ctx, "ANALYZE tenants, tenant_domains")
	return err
}

// start measures how long an edge takes until it serves: first from the database, then from its copy on disk alone.
func (b *bench) start(ctx context.Context) error {
	for _, source := range []string{"PostgreSQL", "its copy on disk, PostgreSQL down", "both"} {
		more := map[string]string{}
		if strings.HasSuffix(source, "down") {
			more["DATABASE_URL"] = "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable"
		}
		took, err := b.startEdge(ctx, more)
		if err != nil {
			return err
		}
		fmt.Printf("%d clients, %d domains: the edge serves %s after its start, from %s (target: %s)\n", clients, clients*domainsPerClient, took.Round(time.Millisecond), source, startTarget)
		if source == "both" {
			break
		}
		err = rig.Eventually(ctx, startWait, func(context.Context) error {
			_, err := os.Stat(b.state)
			return err
		})
		if err != nil {
			return err
		}
		b.edge.Stop()
	}
	return b.memory("after its start")
}

func (b *bench) startEdge(ctx context.Context, more map[string]string) (time.Duration, error) {
	var err error
	if b.address, err = free(); err != nil {
		return 0, err
	}
	if b.metrics, err = free(); err != nil {
		return 0, err
	}
	more["EDGE_LISTEN"], more["EDGE_METRICS_LISTEN"], more["EDGE_STATE_FILE"] = b.address, b.metrics, b.state
	more["LOG_LEVEL"], more["TRUSTED_PROXIES"] = "info", ""
	began := time.Now()
	if b.edge, err = b.rig.Start(more, "edge"); err != nil {
		return 0, err
	}
	if err := answers(ctx, b.address, host(clients/2)); err != nil {
		return 0, fmt.Errorf("the edge: %w\n%s", err, b.edge.Tail(20))
	}
	took := time.Since(began)
	for _, name := range []string{host(1), "shop2.bulk-" + strconv.Itoa(clients) + ".example.com"} {
		if err := answers(ctx, b.address, name); err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
	return took, nil
}

func host(n int) string { return "bulk-" + strconv.Itoa(n) + ".localhost" }

// answers waits until the proxy passes a request on.
func answers(ctx context.Context, address, host string) error {
	return rig.Eventually(ctx, startWait, func(context.Context) error {
		c := newCaller(address, host)
		defer c.hangUp()
		status, _, err := c.ask()
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
}

// compare measures the three in turns and prints medians.
func (b *bench) compare(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "bench-proxies-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	all, err := b.compared(ctx, dir)
	defer func() {
		for _, p := range all {
			p.stop()
		}
	}()
	if err != nil {
		return err
	}
	pressed, paced := map[string][]result{}, map[string][]result{}
	for i := range rounds {
		for _, p := range all {
			before := p.cpu()
			r := press(ctx, p.address, host(clients/2), callers, roundSeconds*time.Second)
			r.cpu = float64((p.cpu() - before).Microseconds()) / max(1, r.perSecond*roundSeconds)
			pressed[p.name] = append(pressed[p.name], r)
			if i < paceRounds {
				paced[p.name] = append(paced[p.name], pace(ctx, p.address, host(clients/2), pacePerSec, roundSeconds*time.Second))
			}
		}
	}
	for _, p := range all {
		full, calm := middle(pressed[p.name]), middle(paced[p.name])
		fmt.Printf("%-8s over %d connections: %.0f requests/s, p50 %s, p99 %s; at %d/s: p50 %s, p99 %s; %.0f µs of processor time each; failed %d\n", p.name, callers, full.perSecond,
			micro(full.p50), micro(full.p99), pacePerSec, micro(calm.p50), micro(calm.p99), full.cpu, full.failed+calm.failed)
	}
	fmt.Printf("our edge / Caddy: %.2f of its requests/s (target: %.1f), %.2f of its p99; our edge / nginx: %.2f\n",
		ratio(pressed, "Caddy"), ratioTarget, 1/ratioP99(pressed, "Caddy"), ratio(pressed, "nginx"))
	return ctx.Err()
}

// middle returns the medians over rounds; failures are added up.
func middle(rounds []result) result {
	pick := func(value func(result) float64) float64 {
		var list []float64
		for _, r := range rounds {
			list = append(list, value(r))
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	out := result{
		perSecond: pick(func(r result) float64 { return r.perSecond }),
		p50:       time.Duration(pick(func(r result) float64 { return float64(r.p50) })),
		p99:       time.Duration(pick(func(r result) float64 { return float64(r.p99) })),
		cpu:       pick(func(r result) float64 { return r.cpu }),
	}
	for _, r := range rounds {
		out.failed += r.failed
	}
	return out
}

// ratio compares rounds that were measured one after the other, and returns the median: what else the machine does hits both.
func ratio(all map[string][]result, with string) float64 {
	var list []float64
	for i, r := range all[ours] {
		list = append(list, r.perSecond/all[with][i].perSecond)
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func ratioP99(all map[string][]result, with string) float64 {
	var list []float64
	for i, r := range all[ours] {
		list = append(list, float64(all[with][i].p99)/float64(r.p99))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// changes moves clients from one upstream to the other, one after the other, while others, and the first of them, are asked all the time.
func (b *bench) changes(ctx context.Context) error {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var answered, dropped atomic.Int64
	var wg sync.WaitGroup
	for i := range watchers {
		wg.Go(func() { watch(asking, newCaller(b.address, host(1+i*(changeCount-1))), &answered, &dropped) })
	}
	var seen []time.Duration
	for i := range changeCount {
		took, err := b.change(ctx, i+1)
		if err != nil {
			return err
		}
		seen = append(seen, took)
	}
	stop()
	wg.Wait()
	slices.Sort(seen)
	fmt.Printf("%d route changes: seen after p50 %s, p99 %s, max %s (target: %s); %d requests meanwhile, dropped %d (target: 0)\n", changeCount,
		micro(seen[len(seen)/2]), micro(seen[len(seen)*99/100]), micro(seen[len(seen)-1]), changeTarget, answered.Load(), dropped.Load())
	return nil
}

// change returns how long after its commit a change is seen by whoever asks.
func (b *bench) change(ctx context.Context, n int) (time.Duration, error) {
	name := "bulk-" + strconv.Itoa(n)
	if _, err := b.rig.Pool.Exec(ctx, "UPDATE tenants SET http_port = $2 WHERE name = $1", name, b.other.port); err != nil {
		return 0, err
	}
	began := time.Now()
	c := newCaller(b.address, host(n))
	defer c.hangUp()
	for time.Since(began) < seenWait {
		_, by, err := c.ask()
		if err != nil {
			return 0, err
		}
		if by == "two" {
			return time.Since(began), nil
		}
	}
	return 0, errors.New("a change isn't seen")
}

func watch(ctx context.Context, c *caller, answered, dropped *atomic.Int64) {
	defer c.hangUp()
	pause := time.NewTicker(2 * time.Millisecond)
	defer pause.Stop()
	for ctx.Err() == nil {
		if status, _, err := c.ask(); err != nil || status != http.StatusOK {
			dropped.Add(1)
		} else {
			answered.Add(1)
		}
		<-pause.C
	}
}

// memory prints what the edge holds.
func (b *bench) memory(when string) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.edge.PID()))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			fmt.Printf("memory of the edge %s: %d MB (target: %d)\n", when, kb/1024, memoryTarget)
			return err
		}
	}
	return errors.New("the edge is gone")
}

func micro(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }
