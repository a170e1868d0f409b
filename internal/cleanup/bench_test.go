package cleanup_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/postgres/pgtest"
)

// crowd adds 100,000 clients, of which 1,000 are unpaid past their deadline and the deletion of 1,000 is due.
func (b *bundle) crowd() {
	b.t.Helper()
	b.exec(`INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, desired, return_state, payment_deadline, paid_at,
			deletion_scheduled_at, deleted_at)
		SELECT $1, 'crowd-' || i, 'odoo_crowd_' || i, 'crowd-' || i || '.example.test', 'a@b.test', 'basic', s.state,
			CASE WHEN s.state IN ('deleted', 'scheduled_for_deletion') THEN 'deleted' ELSE 'active' END,
			CASE WHEN s.state = 'scheduled_for_deletion' THEN 'active' END,
			$2::timestamptz + CASE WHEN i % 100 = 1 THEN -1 ELSE 1 END * i * interval '1 second',
			CASE WHEN s.state <> 'pending' THEN now() END,
			CASE WHEN s.state = 'scheduled_for_deletion' THEN $2 + CASE WHEN i % 100 = 3 THEN -1 ELSE 1 END * i * interval '1 second' END,
			CASE WHEN s.state = 'deleted' THEN now() END
		FROM generate_series(1, 100000) i,
			LATERAL (SELECT CASE WHEN i % 10 = 0 THEN 'deleted' WHEN i % 10 = 1 THEN 'pending'
				WHEN i % 10 = 3 THEN 'scheduled_for_deletion' ELSE 'active' END AS state) s`, b.admin.AccountID, b.clock())
	b.exec(`VACUUM ANALYZE tenants`)
}

func TestDue_AHundredThousandClients(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.crowd()
	for _, index := range []string{"tenants_unpaid", "tenants_due_deletion"} {
		var before, after int
		reads := `SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname = $1`
		require.NoError(t, b.pool.QueryRow(t.Context(), reads, index).Scan(&before))
		_, err := b.tenants.DueUnpaid(t.Context(), b.clock(), 2000)
		require.NoError(t, err)
		_, err = b.tenants.DueDeletions(t.Context(), b.clock(), 2000)
		require.NoError(t, err)
		b.eventually(func() bool { // statistics come a little later
			_ = b.pool.QueryRow(t.Context(), reads, index).Scan(&after)
			return after > before
		})
	}
}

// BenchmarkDue is how long a sweep looks for what is due: 1,000 of 100,000 clients.
func BenchmarkDue(b *testing.B) {
	bu := setupOn(b, pgtest.New(b))
	bu.crowd()
	for name, look := range map[string]func() (int, error){
		"unpaid": func() (int, error) {
			ids, err := bu.tenants.DueUnpaid(b.Context(), bu.clock(), 2000)
			return len(ids), err
		},
		"deletions": func() (int, error) {
			ids, err := bu.tenants.DueDeletions(b.Context(), bu.clock(), 2000)
			return len(ids), err
		},
	} {
		b.Run(name, func(b *testing.B) {
			var longest time.Duration
			for b.Loop() {
				began := time.Now()
				n, err := look()
				require.NoError(b, err)
				require.Equal(b, 1000, n)
				longest = max(longest, time.Since(began))
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "max-ms")
		})
	}
}
