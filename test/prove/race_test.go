package prove_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/test/rig"
)

const (
	boundedRounds = 4
	allRounds     = 100
	spread        = 30 * time.Millisecond // by which one of two that race may begin earlier
)

func rounds() int {
	if all {
		return allRounds
	}
	return boundedRounds
}

// arena is two replicas: what races goes to different ones.
type arena struct {
	*world

	second  *rig.Process
	base    string
	sweeper *rig.Person // an administrator at the second replica
}

func newArena(t *testing.T) *arena {
	t.Helper()
	base, err := rig.FreeBase()
	require.NoError(t, err)
	second, err := shared.ServeAt(t.Context(), base)
	require.NoError(t, err)
	t.Cleanup(second.Stop)
	return &arena{world: shared, second: second, base: base, sweeper: shared.admin.At(base)}
}

// race does both at nearly the same time and returns when both are done.
func race(ctx context.Context, one, other func(context.Context)) {
	var wg sync.WaitGroup
	for _, fn := range []func(context.Context){one, other} {
		wait := time.NewTimer(rand.N(spread)) //nolint:gosec // jitter
		wg.Go(func() {
			<-wait.C
			fn(ctx)
		})
	}
	wg.Wait()
}

type cleaned struct{ deleted, unpaid, scheduled int }

func (a *arena) clean(ctx context.Context, who *rig.Person) (cleaned, error) {
	got, err := who.Must(ctx, http.MethodPost, "/api/cleanup/expired-clients?admin_token="+a.Setting("ADMIN_CLEANUP_TOKEN"), nil)
	number := func(key string) int { n, _ := got[key].(float64); return int(n) }
	return cleaned{number("deleted"), number("unpaid_expired"), number("scheduled_deletions")}, err
}

// TestRace_CancelAgainstSweep: a paid client's deletion is cancelled in the moment that it falls due. Whoever wins, the owner was told
// the truth.
func TestRace_CancelAgainstSweep(t *testing.T) {
	a, ctx := newArena(t), t.Context()
	cancelled := 0
	var c tenant
	for i := range rounds() {
		if c.ID == 0 {
			owner, err := a.SignUp(ctx)
			require.NoError(t, err)
			c, err = a.provision(ctx, owner, plan)
			require.NoError(t, err)
			require.NoError(t, a.do(ctx, post(a.admin, c, "suspend"), func(ctx context.Context) error { return a.settled(ctx, c, "suspended") }))
		}
		require.NoError(t, a.do(ctx, post(a.admin, c, "schedule-delete"), func(ctx context.Context) error { return a.settled(ctx, c, "scheduled_for_deletion") }))
		_, err := a.Pool.Exec(ctx, "UPDATE tenants SET deletion_scheduled_at = clock_timestamp() + interval '15 milliseconds' WHERE id = $1", c.ID)
		require.NoError(t, err)
		var answer rig.Answer
		var failed, swept error
		race(ctx, func(ctx context.Context) {
			answer, failed = a.admin.Do(ctx, http.MethodPost, "/api/clients/"+c.Name+"/cancel-delete", nil)
		}, func(ctx context.Context) { _, swept = a.clean(ctx, a.sweeper) })
		require.NoError(t, errors.Join(failed, swept))
		if answer.OK() == nil {
			cancelled++
			require.NoError(t, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error { return a.settled(ctx, c, "suspended") }), "round %d: cancelled", i+1)
			continue
		}
		require.Contains(t, []int{http.StatusConflict, http.StatusNotFound}, answer.Status, answer.Text)
		_, err = a.clean(ctx, a.sweeper)
		require.NoError(t, err)
		require.NoError(t, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error { return a.gone(ctx, c) }), "round %d: too late", i+1)
		c = tenant{}
	}
	if c.ID != 0 {
		require.NoError(t, remove(ctx, a.world, subject{tenant: c}))
	}
	require.NoError(t, a.orphans(ctx))
	fmt.Printf("race: cancel against sweep: %d rounds, %d cancelled in time\n", rounds(), cancelled)
}

// TestRace_PaymentAgainstSweep: a client is paid for in the moment that it is given up. Either it starts, or the money is a credit.
func TestRace_PaymentAgainstSweep(t *testing.T) {
	a, ctx := newArena(t), t.Context()
	started := 0
	for i := range rounds() {
		owner, err := a.SignUp(ctx)
		require.NoError(t, err)
		name, err := owner.Create(ctx, plan)
		require.NoError(t, err)
		reference, page, err := owner.Checkout(ctx, name, plan)
		require.NoError(t, err)
		c, err := a.tenant(ctx, name)
		require.NoError(t, err)
		_, err = a.Pool.Exec(ctx, "UPDATE tenants SET payment_deadline = now() - interval '1 minute' WHERE id = $1", c.ID)
		require.NoError(t, err)
		var paid, swept error
		race(ctx, func(ctx context.Context) { paid = rig.Pay(ctx, page) }, func(ctx context.Context) { _, swept = a.clean(ctx, a.sweeper) })
		require.NoError(t, errors.Join(paid, swept))
		var purpose string
		require.NoError(t, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error {
			if err := a.holds(ctx, "SELECT status = 'success' FROM payments WHERE reference = $1", reference); err != nil {
				return err
			}
			return a.Pool.QueryRow(ctx, "SELECT purpose FROM payments WHERE reference = $1", reference).Scan(&purpose)
		}), "round %d", i+1)
		if purpose == "activation" {
			started++
			require.NoError(t, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error { return a.active(ctx, c) }), "round %d", i+1)
			require.NoError(t, remove(ctx, a.world, subject{tenant: c}))
			continue
		}
		require.NoError(t, a.settled(ctx, c, "deleted"), "round %d", i+1)
		require.NoError(t, a.holds(ctx, "SELECT EXISTS (SELECT FROM credits c JOIN payments p ON p.id = c.payment_id WHERE p.reference = $1)", reference), "round %d", i+1)
	}
	require.NoError(t, a.orphans(ctx))
	fmt.Printf("race: payment against sweep: %d rounds, %d started\n", rounds(), started)
}

// TestRace_TwoSweeps: each client is given up once, however many sweep.
func TestRace_TwoSweeps(t *testing.T) {
	const each = 5
	a, ctx := newArena(t), t.Context()
	for i := range rounds() {
		rows, err := a.Pool.Query(ctx, `
			INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, payment_deadline)
			SELECT (SELECT id FROM accounts WHERE username = $1), n, 'odoo_' || replace(n, '-', '_'), n || '.localhost', $2, $3, 'pending', now() - interval '1 minute'
			FROM (SELECT format('sweep%s-%s', $4::int, g) AS n FROM generate_series(1, $5::int) g) s RETURNING id`, a.owner.Name, a.owner.Email, plan, i, each)
		require.NoError(t, err)
		var ids []int64
		for rows.Next() {
			var id int64
			require.NoError(t, rows.Scan(&id))
			ids = append(ids, id)
		}
		require.NoError(t, rows.Err())
		var one, other cleaned
		var failed, failed2 error
		race(ctx, func(ctx context.Context) { one, failed = a.clean(ctx, a.admin) }, func(ctx context.Context) { other, failed2 = a.clean(ctx, a.sweeper) })
		require.NoError(t, errors.Join(failed, failed2))
		require.Equal(t, each, one.unpaid+other.unpaid, "round %d: %+v and %+v", i+1, one, other)
		sql := `SELECT bool_and(state = 'deleted') AND (SELECT count(*) FROM tenant_events WHERE tenant_id = ANY($1) AND to_state = 'deleted') = $2
			FROM tenants WHERE id = ANY($1)`
		require.NoError(t, a.holds(ctx, sql, ids, each), "round %d", i+1)
	}
	fmt.Printf("race: two sweeps: %d rounds of %d clients\n", rounds(), each)
}

// TestRace_SuspendAgainstDelete: what is to be deleted goes, whatever else is asked of it.
func TestRace_SuspendAgainstDelete(t *testing.T) {
	a, ctx := newArena(t), t.Context()
	suspended := 0
	for i := range rounds() {
		owner, err := a.SignUp(ctx)
		require.NoError(t, err)
		c, err := a.provision(ctx, owner, plan)
		require.NoError(t, err)
		var answer rig.Answer
		var failed, deleted error
		race(ctx, func(ctx context.Context) {
			answer, failed = owner.Do(ctx, http.MethodPost, "/api/clients/"+c.Name+"/suspend", nil)
		}, func(ctx context.Context) { deleted = post(a.sweeper, c, "force-delete")(ctx) })
		require.NoError(t, errors.Join(failed, deleted), "round %d", i+1)
		if answer.OK() == nil {
			suspended++
		} else {
			require.Contains(t, []int{http.StatusConflict, http.StatusNotFound}, answer.Status, answer.Text)
		}
		require.NoError(t, rig.Eventually(ctx, quietTimeout, func(ctx context.Context) error { return a.gone(ctx, c) }), "round %d", i+1)
	}
	require.NoError(t, a.orphans(ctx))
	fmt.Printf("race: suspend against delete: %d rounds, %d suspended before they went\n", rounds(), suspended)
}
