package billing_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"controlplane/internal/billing"
	"controlplane/internal/billing/paystack"
	"controlplane/internal/secrets"
)

// BenchmarkReconcile compares as many transactions as its parts' names say. It reports how far the live heap, which is what is left after a garbage
// collection, rose meanwhile: it holds a page, so that a hundred times as many transactions take no more. Run it with -benchtime=1x.
func BenchmarkReconcile(b *testing.B) {
	least := int64(0)
	for _, total := range []int{1_000, 10_000, 100_000} {
		b.Run(strconv.Itoa(total), func(b *testing.B) {
			rise := benchmarkReconcile(b, total)
			if least == 0 {
				least = max(rise, 1)
			}
			b.ReportMetric(float64(rise)/float64(least), "times-the-first")
			require.Less(b, rise, 2*least+(256<<10), "it piles up")
		})
	}
}

func benchmarkReconcile(b *testing.B, total int) int64 {
	b.Helper()
	w := setupIdle(b)
	p := w.account("ada")
	client := w.client(p, "acme", "basic")
	w.exec(`INSERT INTO payments (account_id, tenant_id, plan_id, billing_cycle, amount_kobo, currency, mode, email, reference, status, purpose, created_at,
			paid_at, completed_at, fees_kobo)
		SELECT $1, $2, 'basic', 'monthly', 1500000, 'NGN', 'test', 'x', 'ODOO-' || upper(lpad(to_hex(i), 12, '0')), 'success', 'credit', now(), now(), now(), 22500
		FROM generate_series(1, $3) AS i`, p.AccountID, client.ID, total)
	w.bookAll()
	w.exec(`ANALYZE payments, ledger_entries`)
	live := &liveHeap{}
	service := w.listing(total, live)
	_, err := service.Reconcile(b.Context()) // connections and prepared statements are there afterwards
	require.NoError(b, err)
	b.ResetTimer()
	for range b.N {
		live.begin()
		began := time.Now()
		run, err := service.Reconcile(b.Context())
		took := time.Since(began)
		require.NoError(b, err)
		require.Equal(b, int64(total), run.Transactions)
		require.Zero(b, run.Differences)
		b.ReportMetric(float64(total)/took.Seconds(), "transactions/s")
		b.ReportMetric(float64(live.peak)/(1<<10), "KB-live-heap")
	}
	return live.peak
}

// liveHeap is how far the live heap rose at most above what it was at the beginning.
type liveHeap struct{ before, peak int64 }

func (h *liveHeap) now() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) //nolint:gosec // no heap is as large
}

func (h *liveHeap) begin() { h.before, h.peak = h.now(), 0 }

func (h *liveHeap) look() { h.peak = max(h.peak, h.now()-h.before) }

// listing is the service at a gateway that has as many transactions, and nothing of them in memory: each page is written when it is asked for.
// The heap is looked at meanwhile, fifty times in all.
func (b *bundle) listing(total int, live *liveHeap) *billing.Service {
	b.t.Helper()
	const perPage = 100
	created := b.clock().Add(-time.Hour).Format(time.RFC3339)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/transaction" {
			_, _ = fmt.Fprint(w, `{"status":true,"message":"none","data":[],"meta":{}}`)
			return
		}
		from, _ := strconv.Atoi(r.URL.Query().Get("next"))
		if from%max(perPage, total/50) == 0 {
			live.look()
		}
		next := "null"
		if from+perPage < total {
			next = strconv.Quote(strconv.Itoa(from + perPage))
		}
		lines := make([]string, 0, perPage)
		for id := from + 1; id <= min(from+perPage, total); id++ {
			lines = append(lines, fmt.Sprintf(`{"id":%d,"domain":"test","status":"success","reference":"ODOO-%012X","amount":1500000,
				"requested_amount":1500000,"currency":"NGN","fees":22500,"paid_at":%q,"created_at":%q}`, id, id, created, created))
		}
		_, _ = fmt.Fprintf(w, `{"status":true,"message":"Transactions retrieved","data":[%s],"meta":{"next":%s,"perPage":%d}}`, strings.Join(lines, ","), next, perPage)
	}))
	b.t.Cleanup(server.Close)
	client, err := paystack.New(paystack.Options{SecretKeys: []secrets.Secret{gatewayKey}, BaseURL: server.URL, RetryPause: time.Millisecond})
	require.NoError(b.t, err)
	deps := b.deps
	deps.Gateway = client
	return billing.New(deps, billing.Options{})
}
