package billing_test

import (
	"fmt"
	"net/http"
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
