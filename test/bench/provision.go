package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/secrets"
)

// hand is an Odoo made by hand: what floor and naive measure.
type hand struct {
	name     string // of container, database, role
	password string
}

func newHand() hand {
	return hand{name: "bench_" + secrets.RandomHex(4), password: secrets.RandomPassword(20).Reveal()}
}

// role makes the database role; it is a superuser so that a clone's objects needn't be handed over: the floor isn't charged for that.
func (b *bench) role(ctx context.Context, h hand) error {
	return b.sql(ctx, fmt.Sprintf("CREATE ROLE %s LOGIN SUPERUSER PASSWORD '%s'", h.name, h.password))
}

// odoo runs the image with the plan's limits on the host's network, on a port of its own, and returns its base URL.
func (b *bench) odoo(ctx context.Context, h hand, port int, args ...string) (string, error) {
	run := []string{
		"run", "-d", "--name", h.name, "--network", "host", "--memory", memoryLimit, "--cpus", cpuLimit, b.p.Env["ODOO_IMAGE"],
		"env", "odoo", // "env" passes by the entry point, which would wait for a host called db
		"--db_host=127.0.0.1", "--db_port=" + b.p.Env["EXTERNAL_DB_PORT"], "--db_user=" + h.name, "--db_password=" + h.password,
		"--database=" + h.name, "--no-database-list", fmt.Sprintf("--http-port=%d", port), fmt.Sprintf("--gevent-port=%d", port+1), "--workers=2",
	}
	_, err := docker(ctx, append(run, args...)...)
	return fmt.Sprintf("http://127.0.0.1:%d", port), err
}

func (b *bench) drop(ctx context.Context, h hand) {
	ctx = context.WithoutCancel(ctx)
	_, _ = docker(ctx, "rm", "--force", "--volumes", h.name)
	_ = b.sql(ctx, "DROP DATABASE IF EXISTS "+h.name+" WITH (FORCE)")
	_ = b.sql(ctx, "DROP ROLE IF EXISTS "+h.name)
}

// cloned prepares what the floor starts from: role and clone are there already.
func (b *bench) cloned(ctx context.Context) (hand, error) {
	h := newHand()
	if err := b.role(ctx, h); err != nil {
		return h, err
	}
	return h, b.sql(ctx, "CREATE DATABASE "+h.name+" TEMPLATE "+b.template+" OWNER "+h.name)
}

// floor is "docker run" on a cloned database until /web/login answers 200.
func (b *bench) floor(ctx context.Context, h hand, port int) (time.Duration, error) {
	start := time.Now()
	base, err := b.odoo(ctx, h, port)
	if err != nil {
		return 0, err
	}
	end, err := b.awaitLogin(ctx, base, "")
	return end.Sub(start), err
}

// ours is from the accepted webhook until /web/login answers 200 through the edge.
func (b *bench) ours(ctx context.Context, name, page string) (time.Duration, error) {
	if err := b.pay(ctx, page); err != nil {
		return 0, err
	}
	end, err := b.awaitLogin(ctx, b.p.Edge, name+".localhost")
	if err != nil {
		return 0, err
	}
	start, err := b.accepted(ctx, name)
	return end.Sub(start), err
}

// single measures one at a time, floor and ours in turn.
func (b *bench) single(ctx context.Context) error {
	var floors, ours []time.Duration
	for range rounds {
		h, err := b.cloned(ctx)
		if err != nil {
			return err
		}
		f, err := b.floor(ctx, h, 21000)
		b.drop(ctx, h)
		if err != nil {
			return err
		}
		name, page, err := b.unpaid(ctx)
		if err != nil {
			return err
		}
		o, err := b.ours(ctx, name, page)
		if err != nil {
			return err
		}
		if err := b.idle(ctx, name); err != nil {
			return err
		}
		floors, ours = append(floors, f), append(ours, o)
	}
	fmt.Printf("floor: docker run on a cloned database → /web/login 200   median %s of %d\n", seconds(median(floors)), rounds)
	fmt.Printf("ours:  accepted webhook → /web/login 200 through the edge  median %s of %d   ratio %s (target ≤ 1.30)\n",
		seconds(median(ours)), rounds, ratio(median(ours), median(floors)))
	return nil
}

// idle stops a measured tenant, so that it doesn't take time from the next. It is marked suspended first: the platform starts an active
// one again.
func (b *bench) idle(ctx context.Context, name string) error {
	const q = `UPDATE tenants SET state = 'suspended', desired = 'suspended', suspended_by = 'admin', suspended_at = now() WHERE name = $1`
	if _, err := b.p.Pool.Exec(ctx, q, name); err != nil {
		return err
	}
	_, err := docker(ctx, "stop", "--time", "2", "odoo_"+name)
	return err
}

// together measures ten at once, as they come to a platform that had time to make its spares.
func (b *bench) together(ctx context.Context) error {
	if err := b.awaitSpares(ctx); err != nil {
		return err
	}
	floor, err := b.tenFloors(ctx)
	if err != nil {
		return err
	}
	ours, err := b.tenOurs(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d at once: the last floor %s, the last of ours %s   ratio %s (target ≤ 1.30)\n", atOnce, seconds(floor), seconds(ours), ratio(ours, floor))
	return nil
}

func (b *bench) tenFloors(ctx context.Context) (time.Duration, error) {
	hands := make([]hand, atOnce)
	defer func() {
		for _, h := range hands {
			b.drop(ctx, h)
		}
	}()
	for i := range hands {
		h, err := b.cloned(ctx)
		if err != nil {
			return 0, err
		}
		hands[i] = h
	}
	return slowest(ctx, func(ctx context.Context, i int) (time.Duration, error) { return b.floor(ctx, hands[i], 21000+2*i) })
}

func (b *bench) tenOurs(ctx context.Context) (time.Duration, error) {
	names, pages := make([]string, atOnce), make([]string, atOnce)
	for i := range names {
		var err error
		if names[i], pages[i], err = b.unpaid(ctx); err != nil {
			return 0, err
		}
	}
	d, err := slowest(ctx, func(ctx context.Context, i int) (time.Duration, error) { return b.ours(ctx, names[i], pages[i]) })
	for _, name := range names {
		_ = b.idle(ctx, name)
	}
	return d, err
}

// slowest runs do ten times at once and returns the longest of their times.
func slowest(ctx context.Context, do func(ctx context.Context, i int) (time.Duration, error)) (time.Duration, error) {
	var mu sync.Mutex
	var longest time.Duration
	g, ctx := errgroup.WithContext(ctx)
	for i := range atOnce {
		g.Go(func() error {
			d, err := do(ctx, i)
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, d)
			return err
		})
	}
	return longest, g.Wait()
}

// naive is what a host without templates does: a fresh database and an install, then the start.
func (b *bench) naive(ctx context.Context) error {
	h := newHand()
	defer b.drop(ctx, h)
	start := time.Now()
	if err := b.role(ctx, h); err != nil {
		return err
	}
	if err := b.sql(ctx, "CREATE DATABASE "+h.name+" OWNER "+h.name); err != nil {
		return err
	}
	if _, err := b.odoo(ctx, h, 21000, "--init="+strings.Join(b.apps, ","), "--without-demo=all", "--stop-after-init", "--workers=0"); err != nil {
		return err
	}
	if _, err := docker(ctx, "wait", h.name); err != nil {
		return err
	}
	if _, err := docker(ctx, "rm", "--volumes", h.name); err != nil {
		return err
	}
	base, err := b.odoo(ctx, h, 21000)
	if err != nil {
		return err
	}
	end, err := b.awaitLogin(ctx, base, "")
	if err != nil {
		return err
	}
	took := end.Sub(start)
	name, page, err := b.unpaid(ctx)
	if err != nil {
		return err
	}
	ours, err := b.ours(ctx, name, page)
	if err != nil {
		return err
	}
	fmt.Printf("naive: fresh database, odoo -i, start %s; ours beside it %s   ratio %s (target ≥ 20)\n", seconds(took), seconds(ours), ratio(took, ours))
	return nil
}
