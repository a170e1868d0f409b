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
	const part = 10_000 // a busy server has a time limit for each statement
	for first := 1; first <= 100_000; first += part {
		b.exec(`INSERT INTO tenants (account_id, name, db_name, domain, email, plan_id, state, desired, return_state, payment_deadline, paid_at,
			deletion_scheduled_at, deleted_at)
		SELECT $1, 'crowd-' || i, 'odoo_crowd_' || i, 'crowd-' || i || '.example.test', 'a@b.test', 'basic', s.state,
			CASE WHEN s.state IN ('deleted', 'scheduled_for_deletion') THEN 'deleted' ELSE 'active' END,
			CASE WHEN s.state = 'scheduled_for_deletion' THEN 'active' END,
			$2::timestamptz + CASE WHEN i % 100 = 1 THEN -1 ELSE 1 END * i * interval '1 second',
			CASE WHEN s.state <> 'pending' THEN now() END,
			CASE WHEN s.state = 'scheduled_for_deletion' THEN $2 + CASE WHEN i % 100 = 3 THEN -1 ELSE 1 END * i * interval '1 second' END,
			CASE WHEN s.state = 'deleted' THEN now() END
		FROM generate_series($3::int, $4::int) i,
			LATERAL (SELECT CASE WHEN i % 10 = 0 THEN 'deleted' WHEN i % 10 = 1 THEN 'pending'
				WHEN i % 10 = 3 THEN 'scheduled_for_deletion' ELSE 'active' END AS state) s`, b.admin.AccountID, b.clock(), first, first+part-1)
	}
	b.exec(`VACUUM ANALYZE tenants`)
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
