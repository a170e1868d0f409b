package prove_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/secrets"
	"controlplane/test/rig"
)

const (
	boundedCommands = 120
	allCommands     = 1000
	clientsAtOnce   = 6
)

// TestRandomSequences does commands in a random order to several clients and compares each answer, and what comes of it, with the model.
func TestRandomSequences(t *testing.T) {
	ctx := t.Context()
	seed := uint64(time.Now().UnixNano())            //nolint:gosec // any number
	if text := os.Getenv("PROVE_SEED"); text != "" { //nolint:forbidigo // the tests' own setting
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err)
		seed = n
	}
	t.Logf("PROVE_SEED=%d repeats this", seed)
	g := &game{world: shared, dice: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}} //nolint:gosec // not a secret
	commands := boundedCommands
	if all {
		commands = allCommands
	}
	for i := range commands {
		name, err := g.turn(ctx)
		require.NoError(t, err, "command %d, %s", i+1, name)
		g.counts[name]++
	}
	require.NoError(t, g.history(ctx))
	fmt.Printf("random sequences: %d commands, seed %d, %d clients, %v\n", commands, seed, len(g.all), g.counts)
	for _, p := range g.all {
		if p.state != "deleted" {
			require.NoError(t, remove(ctx, shared, subject{tenant: p.tenant}))
		}
	}
	require.NoError(t, shared.orphans(ctx))
}

// game is a random sequence of commands.
type game struct {
	*world

	dice   *rand.Rand
	all    []*player
	counts map[string]int
	swept  string // the last answer of the clean-up
}

// player is a client with its owner.
type player struct {
	modelled

	owner     *rig.Person
	reference string // of its last checkout
}

// turn does one random command and checks what came of it.
func (g *game) turn(ctx context.Context) (string, error) {
	live := slices.DeleteFunc(slices.Clone(g.all), func(p *player) bool { return p.state == "deleted" })
	if len(live) < clientsAtOnce && g.dice.IntN(4) == 0 || len(live) == 0 {
		return "create", g.create(ctx)
	}
	p := live[g.dice.IntN(len(live))]
	if g.dice.IntN(12) == 0 { // what is gone is gone
		p = g.all[g.dice.IntN(len(g.all))]
	}
	moves := g.moves(p)
	m := moves[g.dice.IntN(len(moves))]
	before := p.modelled
	err := m.do(ctx)
	if err == nil {
		err = g.compare(ctx)
	}
	if err != nil {
		err = fmt.Errorf("client %s, %+v: %w; the last sweep said %s; its payments: %s", p.Name, before, err, g.swept, g.payments(ctx))
	}
	return m.name, err
}

// payments tells of those that are open, for a person to see what went wrong.
func (g *game) payments(ctx context.Context) (text string) {
	_ = g.Pool.QueryRow(ctx, `SELECT coalesce(json_agg(p), '[]') FROM (SELECT tenant_id, reference, status, gateway_status, purpose, review
		FROM payments WHERE tenant_id = ANY($1) AND status <> 'success') p`, g.ids()).Scan(&text)
	return text
}

type command struct {
	name string
	do   func(context.Context) error
}

// moves are the commands that make sense to try, the likelier ones more than once.
func (g *game) moves(p *player) []command {
	api := func(name string, who *rig.Person, path string, body any, e expect) command {
		return command{name, func(ctx context.Context) error { return g.ask(ctx, p, who, path, body, e) }}
	}
	reason := map[string]any{"reason": "a test"}
	list := []command{
		api("suspend", p.owner, "suspend", nil, p.suspend(false)), api("suspend", p.owner, "suspend", nil, p.suspend(false)),
		api("suspend (admin)", g.admin, "suspend", nil, p.suspend(true)),
		api("resume", p.owner, "resume", nil, p.resume(false)), api("resume", p.owner, "resume", nil, p.resume(false)),
		api("resume (admin)", g.admin, "resume", nil, p.resume(true)),
		api("schedule", p.owner, "schedule-delete", nil, p.schedule()), api("schedule (admin)", g.admin, "schedule-delete?hours_until_deletion=1", nil, p.schedule()),
		api("cancel", p.owner, "cancel-delete", nil, p.cancel()), api("cancel", p.owner, "cancel-delete", nil, p.cancel()),
		api("cancel (admin)", g.admin, "cancel-delete", nil, p.cancel()),
		api("activate", p.owner, "activate", nil, p.activate(false)),
		api("delete (owner)", p.owner, "force-delete", nil, p.remove(false)),
		{"sweep", g.sweep},
		{"forged webhook", func(ctx context.Context) error { return g.forge(ctx, p) }},
	}
	if g.dice.IntN(3) == 0 { // seldom enough for some to be paid for before
		list = append(list, command{"jump", g.jump})
	}
	if g.dice.IntN(4) == 0 {
		list = append(list, api("activate (admin)", g.admin, "activate", reason, p.activate(true)), api("delete (admin)", g.admin, "force-delete", nil, p.remove(true)),
			command{"kill", func(ctx context.Context) error { g.serve.Kill(); return g.restart(ctx) }})
	}
	if p.page != "" {
		pay := command{"pay", func(ctx context.Context) error { return g.pay(ctx, p) }}
		list = append(list, pay, pay, pay)
	}
	if p.state == "pending" && p.page == "" {
		open := command{"checkout", func(ctx context.Context) error { return g.checkout(ctx, p) }}
		list = append(list, open, open, open)
	}
	return list
}

func (g *game) create(ctx context.Context) error {
	owner, err := g.SignUp(ctx)
	if err != nil {
		return err
	}
	name, err := owner.Create(ctx, plan)
	if err != nil {
		return err
	}
	t, err := g.tenant(ctx, name)
	g.all = append(g.all, &player{modelled: modelled{tenant: t, state: "pending"}, owner: owner})
	return err
}

func (g *game) ask(ctx context.Context, p *player, who *rig.Person, path string, body any, e expect) error {
	a, err := who.Do(ctx, http.MethodPost, "/api/clients/"+p.Name+"/"+path, body)
	if err != nil {
		return err
	}
	if !slices.Contains(e.statuses, a.Status) {
		return fmt.Errorf("the answer is %d and should be one of %v: %s", a.Status, e.statuses, a.Text)
	}
	p.modelled = e.after
	return nil
}

func (g *game) checkout(ctx context.Context, p *player) error {
	var err error
	p.reference, p.page, err = p.owner.Checkout(ctx, p.Name, plan)
	return err
}

// pay returns when the platform has dealt with the payment, which it hears of by webhook.
func (g *game) pay(ctx context.Context, p *player) error {
	if err := rig.Pay(ctx, p.page); err != nil {
		return err
	}
	p.modelled = p.money()
	return rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error {
		return g.holds(ctx, "SELECT status = 'success' FROM payments WHERE reference = $1", p.reference)
	})
}

// jump lets a day pass for all clients of the game.
func (g *game) jump(ctx context.Context) error {
	_, err := g.Pool.Exec(ctx, `UPDATE tenants SET payment_deadline = payment_deadline - interval '25 hours',
		deletion_scheduled_at = CASE WHEN state = 'scheduled_for_deletion' THEN deletion_scheduled_at - interval '25 hours' ELSE deletion_scheduled_at END
		WHERE id = ANY($1)`, g.ids())
	for _, p := range g.all {
		p.modelled = p.jump()
	}
	return err
}

func (g *game) ids() []int64 {
	ids := make([]int64, 0, len(g.all))
	for _, p := range g.all {
		ids = append(ids, p.ID)
	}
	return ids
}

func (g *game) sweep(ctx context.Context) error {
	a, err := g.admin.Do(ctx, http.MethodPost, "/api/cleanup/expired-clients?admin_token="+g.Setting("ADMIN_CLEANUP_TOKEN"), nil)
	g.swept = a.Text
	for _, p := range g.all {
		p.modelled = p.sweep()
	}
	return errors.Join(err, a.OK())
}

// forge says without a signature that the client was paid for.
func (g *game) forge(ctx context.Context, p *player) error {
	body := map[string]any{"event": "charge.success", "data": map[string]any{"reference": "ODOO-" + secrets.RandomHex(6), "status": "success", "amount": 1500000}}
	a, err := p.owner.Do(ctx, http.MethodPost, "/api/payments/webhook", body)
	if err == nil && a.Status < http.StatusBadRequest {
		err = fmt.Errorf("a forged webhook was taken: %d", a.Status)
	}
	return err
}

// compare waits until nothing is going on, and then finds each client as the model says.
func (g *game) compare(ctx context.Context) error {
	return rig.Eventually(ctx, rig.SettleTimeout, func(ctx context.Context) error {
		for _, p := range g.all {
			if err := g.settled(ctx, p.tenant, p.state); err != nil {
				return err
			}
			sql := `SELECT (paid_at IS NOT NULL) = $2 AND (state <> 'suspended' OR suspended_by = $3) AND (state <> 'scheduled_for_deletion' OR return_state = $4)
				FROM tenants WHERE id = $1`
			if err := g.holds(ctx, sql, p.ID, p.paid, p.by, p.back); err != nil {
				return fmt.Errorf("%+v: %w", p.modelled, err)
			}
		}
		return nil
	})
}

// history judges what really happened: each move was a lawful one, nothing was activated for nothing, nothing paid for was deleted unasked.
func (g *game) history(ctx context.Context) error {
	rows, err := g.Pool.Query(ctx, "SELECT tenant_id, coalesce(from_state, ''), to_state FROM tenant_events WHERE tenant_id = ANY($1) ORDER BY id", g.ids())
	if err != nil {
		return err
	}
	var id int64
	var from, to string
	at := map[int64]string{}
	_, err = pgx.ForEachRow(rows, []any{&id, &from, &to}, func() error {
		if at[id] != from || !lawful(from, to) {
			return fmt.Errorf("client %d went from %q (it was %q) to %q", id, from, at[id], to)
		}
		at[id] = to
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range g.all {
		paid := "SELECT t.activated_at IS NULL OR $2 OR EXISTS (SELECT FROM payments p WHERE p.tenant_id = t.id AND p.paid_at IS NOT NULL) FROM tenants t WHERE t.id = $1"
		if err := g.holds(ctx, paid, p.ID, p.free); err != nil {
			return fmt.Errorf("client %s was activated for nothing: %w", p.Name, err)
		}
		if p.state == "deleted" && !p.wanted {
			return fmt.Errorf("client %s was deleted, and nobody wanted it", p.Name)
		}
	}
	return nil
}
