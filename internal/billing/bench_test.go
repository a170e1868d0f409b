package billing_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkWebhook delivers different events at 200 a second over HTTP while the queue applies them, and reports how long the
// acknowledgement took. Run it with -benchtime=1x; it takes ten seconds.
func BenchmarkWebhook(b *testing.B) {
	const rate, total = 200, 2000
	w := setup(b)
	for range b.N {
		took := make([]time.Duration, total)
		ticker := time.NewTicker(time.Second / rate)
		var wg sync.WaitGroup
		for i := range total {
			<-ticker.C
			body := fmt.Appendf(nil, `{"event":"charge.success","data":{"id":%d,"domain":"test","reference":"ODOO-%012X","amount":1500000}}`, i+1, i+1)
			signature := w.sim.Sign("test", body)
			wg.Go(func() {
				began := time.Now()
				require.Equal(b, http.StatusOK, w.deliver(body, signature))
				took[i] = time.Since(began)
			})
		}
		wg.Wait()
		ticker.Stop()
		slices.Sort(took)
		b.ReportMetric(float64(took[total/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(took[total*99/100].Microseconds())/1000, "p99-ms")
		b.ReportMetric(float64(took[total-1].Microseconds())/1000, "max-ms")
		began := time.Now()
		w.eventually(func() bool { return w.count(`payment_events WHERE applied_at IS NULL`) == 0 })
		b.ReportMetric(time.Since(began).Seconds(), "behind-s")
	}
}

// BenchmarkPaid is the time from a delivered webhook until provisioning is enqueued, one purchase after the other.
func BenchmarkPaid(b *testing.B) {
	w := setup(b)
	w.dropWebhooks()
	p := w.account("ada")
	for i := range b.N {
		b.StopTimer()
		payment := w.checkout(p, w.client(p, fmt.Sprintf("client%d", i), "basic"))
		require.NoError(b, w.sim.Pay(payment.Reference, ""))
		body := w.sim.Deliveries()[i].Body
		signature := w.sim.Sign("test", body)
		b.StartTimer()
		require.Equal(b, http.StatusOK, w.deliver(body, signature))
		for w.count(`tenants WHERE id = $1 AND state = 'provisioning'`, payment.TenantID) == 0 {
			runtime.Gosched()
		}
	}
}
