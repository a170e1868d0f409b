package tenants_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres/pgtest"
	"controlplane/internal/tenants"
)

// crowd adds n tenants of as many owners as it takes, one in ten of them deleted, one in a hundred due.
func (b *bundle) crowd(n int) accounts.Principal {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `
		INSERT INTO accounts (email, email_key, username, username_key, password_hash)
		SELECT 'crowd' || i || '@example.test', 'crowd' || i, 'crowd' || i, 'crowd' || i, 'x' FROM generate_series(1, $1 / 10 + 1) i`, n)
	require.NoError(b.t, err)
	_, err = b.pool.Exec(b.t.Context(), `
		INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, desired, return_state, payment_deadline, paid_at,
			deletion_scheduled_at, deleted_at)
		SELECT a.first + i / 10, 'crowd-' || i, 'odoo_crowd_' || i, 'crowd-' || i || '.example.test', 'a@b.test', 'basic', s.state,
			CASE WHEN s.state IN ('deleted', 'scheduled_for_deletion') THEN 'deleted' ELSE 'active' END,
			CASE WHEN s.state = 'scheduled_for_deletion' THEN 'active' END,
			$2::timestamptz + CASE WHEN i % 1000 = 1 THEN -1 ELSE 1 END * i * interval '1 second',
			CASE WHEN s.state <> 'pending' THEN now() END,
			CASE WHEN s.state = 'scheduled_for_deletion' THEN $2 + CASE WHEN i % 1000 = 3 THEN -1 ELSE 1 END * i * interval '1 second' END,
			CASE WHEN s.state = 'deleted' THEN now() END
		FROM generate_series(1, $1) i,
			LATERAL (SELECT CASE WHEN i % 10 = 0 THEN 'deleted' WHEN i % 10 = 1 THEN 'pending'
				WHEN i % 10 = 3 THEN 'scheduled_for_deletion' ELSE 'active' END AS state) s,
			(SELECT min(id) AS first FROM accounts WHERE username LIKE 'crowd%') a`, n, b.clock())
	require.NoError(b.t, err)
	pgtest.AsOwner(b.t, b.pool, `VACUUM ANALYZE tenants`)
	var p accounts.Principal
	require.NoError(b.t, b.pool.QueryRow(b.t.Context(), `SELECT id, username FROM accounts WHERE username = 'crowd5'`).Scan(&p.AccountID, &p.Username))
	return p
}

// What people ask for stays as fast with a hundred thousand clients as with a hundred: each on its index.
func TestScale_ReadsStayFast(t *testing.T) {
	t.Parallel()
	boss := accounts.Principal{AccountID: 1, Admin: true}
	type read struct {
		name string
		do   func(b *bundle, owner accounts.Principal) error
	}
	list := func(f tenants.ListFilter) func(b *bundle, p accounts.Principal) error {
		return func(b *bundle, p accounts.Principal) error {
			_, err := b.List(t.Context(), p, f)
			return err
		}
	}
	asBoss := func(f tenants.ListFilter) func(b *bundle, _ accounts.Principal) error {
		return func(b *bundle, _ accounts.Principal) error { return list(f)(b, boss) }
	}
	reads := []read{
		{"own list", list(tenants.ListFilter{})},
		{"own list of a state", list(tenants.ListFilter{State: ptr(tenants.Active)})},
		{"admin's list", asBoss(tenants.ListFilter{Limit: 50})},
		{"admin's second page", asBoss(tenants.ListFilter{Skip: 20, Limit: 50})},
		{"admin's list of a state", asBoss(tenants.ListFilter{State: ptr(tenants.Pending), Limit: 10})},
		{"get", func(b *bundle, p accounts.Principal) error {
			_, err := b.Get(t.Context(), p, "crowd-42")
			return err
		}},
	}
	small, large := setup(t), setup(t)
	few, many := small.crowd(100), large.crowd(100_000)
	for _, r := range reads {
		took := medians(t, func() error { return r.do(small, few) }, func() error { return r.do(large, many) })
		was, is := took[0], took[1]
		t.Logf("%-24s of 100: %8s   of 100,000: %8s", r.name, was, is)
		require.Less(t, is, 2*was+2*time.Millisecond, "%s: twice, and a busy machine's share", r.name)
	}
}

// medians takes the time of each function many times, in turns, so that a busy machine slows all of them.
func medians(t *testing.T, do ...func() error) []time.Duration {
	t.Helper()
	took := make([][]time.Duration, len(do))
	for range 60 {
		for i, f := range do {
			start := time.Now()
			require.NoError(t, f())
			took[i] = append(took[i], time.Since(start))
		}
	}
	middle := make([]time.Duration, len(do))
	for i := range took {
		slices.Sort(took[i])
		middle[i] = took[i][len(took[i])/2]
	}
	return middle
}

func TestScale_DueOnIndexes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.crowd(100_000)
	for want, sql := range map[string]string{
		"tenants_unpaid": `SELECT id FROM tenants WHERE state = 'pending' AND payment_deadline <= '2026-03-01' ORDER BY payment_deadline LIMIT 1000`,
		"tenants_due_deletion": `SELECT id FROM tenants WHERE state = 'scheduled_for_deletion' AND desired = 'deleted'
			AND deletion_scheduled_at <= '2026-03-01' ORDER BY deletion_scheduled_at LIMIT 1000`,
	} {
		require.Contains(t, b.plan(sql), want)
	}
	for name, due := range map[string]func() ([]tenants.ID, error){
		"unpaid":    func() ([]tenants.ID, error) { return b.DueUnpaid(t.Context(), b.clock(), 1000) },
		"deletions": func() ([]tenants.ID, error) { return b.DueDeletions(t.Context(), b.clock(), 1000) },
	} {
		ids, err := due()
		require.NoError(t, err)
		require.Len(t, ids, 100)
		took := medians(t, func() error { _, err := due(); return err })[0]
		t.Logf("%s: %s", name, took)
		require.Less(t, took, 50*time.Millisecond)
	}
}

func (b *bundle) plan(sql string) string {
	b.t.Helper()
	rows, err := b.pool.Query(b.t.Context(), "EXPLAIN "+sql)
	require.NoError(b.t, err)
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		require.NoError(b.t, rows.Scan(&line))
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
