package edge_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"controlplane/internal/edge"
	"controlplane/internal/tenants"
)

// What the database is told is bounded, doesn't pile up and keeps nobody waiting when packets get lost instead of being refused.
func TestEdge_ServesWhilePostgreSQLIsSilent(t *testing.T) {
	t.Parallel()
	cable, via := viaRelay(t)
	var pool *pgxpool.Pool
	var trying, refused, failing atomic.Int64
	failing.Store(-1)
	b := setup(t, via, func(o *edge.Options) {
		pool = o.Pool
		o.HealthInterval, o.ResyncInterval = 200*time.Millisecond, 100*time.Millisecond
		o.OnHealth = func(ctx context.Context, _ string, now []edge.TenantHealth) error {
			if trying.Add(1) > 1 {
				t.Error("told twice at a time")
			}
			defer trying.Add(-1)
			if _, err := pool.Exec(ctx, "SELECT"); err != nil {
				refused.Add(1)
				return err
			}
			failing.Store(int64(len(now)))
			return nil
		}
		o.Step = func(ctx context.Context, _ tenants.ID) (string, error) {
			_, err := pool.Exec(ctx, "SELECT")
			return "start", err
		}
	})
	broken := newUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }), nil)
	b.tenant("broken", tenants.Active, broken)
	b.tenant("fine", tenants.Active, newUpstream(t, says("odoo"), nil))
	b.tenant("coming", tenants.Provisioning, nil)
	b.start()
	eventually(t, "all is well", func() bool { return failing.Load() == 0 })

	flow := cable.swallow()
	require.Equal(t, 503, b.status("http://coming.example.test/"), "the page comes without progress")
	require.Eventually(t, func() bool {
		require.Equal(t, 502, b.status("http://broken.example.test/"))
		require.Equal(t, 200, b.status("http://fine.example.test/"))
		return refused.Load() > 0
	}, time.Minute, 5*time.Millisecond, "it is to be told, and given up")
	require.Zero(t, failing.Load())
	flow()
	require.Eventually(t, func() bool {
		b.status("http://broken.example.test/")
		return failing.Load() == 1 && b.edge.Status().Connected
	}, time.Minute, 10*time.Millisecond, "as soon as it can be told")
}

// An edge says under a lasting name what it goes by, after it is on disk: an address that was freed later than that isn't given away.
func TestEdge_SaysHowOldItsRoutesAre(t *testing.T) {
	t.Parallel()
	cable, via := viaRelay(t)
	b := setup(t, via, func(o *edge.Options) { o.ResyncInterval = 50 * time.Millisecond })
	b.tenant("acme", tenants.Active, newUpstream(t, says("odoo"), nil))
	noted := func() (edges int, asOf time.Time) {
		require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT count(*), coalesce(max(as_of), 'epoch') FROM edges").Scan(&edges, &asOf))
		return edges, asOf
	}
	var now time.Time
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now))
	b.exec("INSERT INTO edges (id, as_of) VALUES ('0000000000000000', now() - interval '16 days')") // gone for good
	b.start()
	eventually(t, "it is noted", func() bool { n, asOf := noted(); return n == 1 && asOf.After(now) })
	require.NoError(t, b.pool.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&now))
	eventually(t, "and noted again with the next reading", func() bool { n, asOf := noted(); return n == 1 && asOf.After(now) })

	cable.cut()
	b.stop()
	_, cut := noted()
	b.start()
	require.Equal(t, 200, b.status("http://acme.example.test/"))
	_, still := noted()
	require.Equal(t, cut, still)
	cable.restore()
	eventually(t, "the copy keeps its name", func() bool { n, asOf := noted(); return n == 1 && asOf.After(cut) })
}
