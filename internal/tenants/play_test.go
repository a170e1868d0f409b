package tenants_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/tenants"
)

// play is one long game against the model.
type play struct {
	*bundle
	random *rand.Rand
	boss   accounts.Principal
	twins  []*twin
	made   int
	log    []string
	seen   map[string]int
}

// Thousands of commands, payments, sweeps, ends of operations and jumps of the clock, in any order, of several tenants at once.
func TestModel_RandomSequences(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			p := &play{bundle: b, random: rand.New(rand.NewPCG(seed, 42)), boss: b.admin(), seen: map[string]int{}}
			for range 1000 {
				p.step()
			}
			p.rest()
			t.Logf("%d tenants, %d different ends of actions", p.made, len(p.seen))
		})
	}
}

func (p *play) step() {
	p.t.Helper()
	if len(p.twins) < 4 {
		p.add()
	}
	m := p.twins[p.random.IntN(len(p.twins))]
	what, wanted, got := p.act(m)
	p.log = append(p.log, fmt.Sprintf("%s: %s -> %q", m.name, what, got))
	p.seen[what+" "+got]++
	last := strings.Join(p.log[max(0, len(p.log)-25):], "\n")
	require.Equal(p.t, wanted, got, "%s", last)
	for _, m := range p.twins {
		p.compare(m, last)
	}
	p.twins = slices.DeleteFunc(p.twins, func(m *twin) bool { return m.state == "deleted" })
}

func (p *play) add() {
	p.made++
	m := &twin{name: fmt.Sprintf("game-%d", p.made), state: "pending", desired: "active", plan: "basic", payBy: p.clock().Add(24 * time.Hour)}
	m.owner = p.account("player-" + m.name)
	m.id = p.create(m.owner, m.name).ID
	p.twins = append(p.twins, m)
}

// act does something at random and returns what, how the model says it ends, and how it ended: "" is success.
func (p *play) act(m *twin) (what, wanted, got string) {
	ctx, r := p.t.Context(), p.random
	admin := r.IntN(3) == 0
	caller, who := m.owner, "owner"
	if admin {
		caller, who = p.boss, "admin"
	}
	switch n := r.IntN(100); {
	case n < 12:
		_, err := p.Suspend(ctx, caller, p.ip, m.name, "")
		return who + " suspends", m.suspend(who), code(err)
	case n < 24:
		_, err := p.Resume(ctx, caller, p.ip, m.name)
		return who + " resumes", m.resume(who), code(err)
	case n < 32:
		hours := 12 + r.IntN(24)
		_, err := p.ScheduleDeletion(ctx, caller, p.ip, m.name, hours)
		return who + " schedules", m.schedule(p.clock().Add(time.Duration(hours) * time.Hour)), code(err)
	case n < 42:
		_, err := p.CancelDeletion(ctx, caller, p.ip, m.name)
		return who + " cancels", m.cancel(p.clock()), code(err)
	case n < 44:
		_, err := p.Delete(ctx, caller, p.ip, m.name, tenants.DeleteInput{})
		return who + " deletes", m.remove(admin), code(err)
	case n < 49:
		_, err := p.Activate(ctx, caller, p.ip, m.name, "a game")
		return who + " activates", m.activate(admin), code(err)
	case n < 53:
		plan := []string{"basic", "business"}[r.IntN(2)]
		_, err := p.ChangePlan(ctx, caller, p.ip, m.name, plan)
		return who + " changes the plan", m.change(plan, admin), code(err)
	case n < 58:
		by := []tenants.SuspendedBy{tenants.ByBilling, tenants.ByQuota}[r.IntN(2)]
		_, err := p.suspendBy(m.id, by)
		return string(by) + " suspends", m.suspend(string(by)), code(err)
	case n < 63:
		by := []tenants.SuspendedBy{tenants.ByBilling, tenants.ByQuota}[r.IntN(2)]
		_, err := p.resumeBy(m.id, by)
		return string(by) + " resumes", m.resume(string(by)), code(err)
	}
	return p.happen(m), "", ""
}

// happen is what isn't asked for by anybody: money, work, time and sweeps.
func (p *play) happen(m *twin) string {
	switch n := p.random.IntN(40); {
	case n < 6:
		p.money(m)
		return "money"
	case n < 8 && m.is("active") && m.desired == "active":
		m.state = "sleeping"
		require.NoError(p.t, p.move(m.id, tenants.Active, tenants.Sleeping))
		return "falls asleep"
	case n < 10 && m.live == tenants.ProvisionKind && m.is("provisioning"):
		m.state, m.held = "failed", true
		require.NoError(p.t, p.tx(func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `UPDATE operations SET state = 'held' WHERE subject = $1 AND finished_at IS NULL`, m.id.Subject())
			require.NoError(p.t, err)
			return p.FailTx(ctx, tx, m.id, "no room")
		}))
		return "fails"
	case n < 26 && m.live != "" && !m.held:
		if m.queued != "" && m.live != tenants.DeleteKind && p.random.IntN(2) == 0 {
			require.NoError(p.t, p.tx(func(ctx context.Context, tx pgx.Tx) error { return endLive(ctx, tx, m.id, "abandoned") }))
			m.work("cut short")
			return "work is cut short"
		}
		if m.live == tenants.ProvisionKind && !m.is("provisioning") { // what isn't wanted any more is always cut short
			require.NoError(p.t, p.tx(func(ctx context.Context, tx pgx.Tx) error { return endLive(ctx, tx, m.id, "abandoned") }))
			m.work("cut short")
			return "provisioning is cut short"
		}
		what := "done: " + m.live
		p.finish(m.id)
		m.work("done")
		return what
	case n < 30:
		p.advance(time.Duration(p.random.IntN(8)) * time.Hour)
		return "time passes"
	}
	p.sweep()
	return "sweep"
}

func (p *play) money(m *twin) {
	require.NoError(p.t, p.tx(func(ctx context.Context, tx pgx.Tx) error {
		activated, err := p.MarkPaidTx(ctx, tx, m.id, "ODOO-1")
		require.Equal(p.t, m.is("pending"), activated)
		if activated {
			_, err = p.ops.EnqueueTx(ctx, tx, tenants.ProvisionKind, m.id.Subject(), tenants.OperationInput{TenantID: m.id})
		}
		return err
	}))
	m.pay()
}

func (p *play) sweep() {
	for _, m := range p.twins {
		due := m.is("scheduled_for_deletion") && m.desired == "deleted" && !m.deleteAt.After(p.clock())
		unpaid := m.is("pending") && !m.payBy.After(p.clock())
		require.NoError(p.t, p.tx(func(ctx context.Context, tx pgx.Tx) error {
			claimed, _, err := p.ClaimDueDeletionTx(ctx, tx, m.id, p.clock())
			require.NoError(p.t, err)
			require.Equal(p.t, due, claimed)
			deleted, err := p.DeleteUnpaidTx(ctx, tx, m.id, p.clock())
			require.Equal(p.t, unpaid, deleted)
			return err
		}))
		if due || unpaid {
			m.gone()
		}
	}
}

// compare requires that the row is the twin's, and what must hold whatever the model says.
func (p *play) compare(m *twin, last string) {
	p.t.Helper()
	t, err := p.ByID(p.t.Context(), m.id)
	require.NoError(p.t, err)
	shown := func(state, desired, by, back string, paid bool) string {
		return fmt.Sprintf("%s wants %s, suspended by %q, leads back to %q, paid %t", state, desired, by, back, paid)
	}
	require.Equal(p.t, shown(m.state, m.desired, m.by, m.back, m.paid),
		shown(string(t.State), string(t.Desired), string(t.SuspendedBy), string(t.ReturnState), t.PaidAt != nil), "%s\n%s", m.name, last)
	require.True(p.t, t.PaymentDeadline.Equal(m.payBy))
	require.Equal(p.t, m.plan, t.PlanID, "%s\n%s", m.name, last)
	if t.State == tenants.Scheduled && t.Desired == tenants.WantsDeleted {
		require.True(p.t, t.DeletionScheduledAt.Equal(m.deleteAt), "%s\n%s", m.name, last)
	}
	list, err := p.ops.Unfinished(p.t.Context(), p.pool, m.id.Subject())
	require.NoError(p.t, err)
	kinds := []string{}
	for _, op := range list {
		kinds = append(kinds, op.Kind)
	}
	require.Equal(p.t, slices.DeleteFunc([]string{m.live, m.queued}, func(k string) bool { return k == "" }), kinds, "%s\n%s", m.name, last)
}

// rest lets all work end: then every tenant is what it is wanted to be.
func (p *play) rest() {
	for _, m := range p.twins {
		for m.live != "" && !m.held {
			p.happen(m)
		}
		t, err := p.ByID(p.t.Context(), m.id)
		require.NoError(p.t, err)
		require.True(p.t, atRest(t), "%s: %s wants %s", t.Name, t.State, t.Desired)
	}
	require.Zero(p.t, p.count(`FROM tenants t WHERE state NOT IN ('pending', 'scheduled_for_deletion', 'deleted')
		AND NOT EXISTS (SELECT FROM tenant_events e WHERE e.tenant_id = t.id AND (reason LIKE 'paid with %' OR reason LIKE 'activated by %'))`),
		"nothing is active for nothing")
	require.Zero(p.t, p.count(`FROM tenants t WHERE state = 'deleted' AND paid_at IS NOT NULL
		AND NOT EXISTS (SELECT FROM tenant_events e WHERE e.tenant_id = t.id AND to_state = 'deleting'
			AND reason IN ('deleted by an administrator', 'the scheduled time has come'))`), "nothing that was paid for is deleted but on purpose")
}

func code(err error) string {
	if err == nil {
		return ""
	}
	return outcome(tenants.Change{}, err)
}
