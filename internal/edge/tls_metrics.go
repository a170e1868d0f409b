package edge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"controlplane/internal/acme"
)

var (
	descCertificates = describe("certificates", "Certificates that are wanted, by how they stand.", "state")                                       //nolint:gochecknoglobals // a constant
	descNextExpiry   = describe("certificate_next_expiry_timestamp_seconds", "When the first of all certificates runs out.")                       //nolint:gochecknoglobals // a constant
	descExpiry       = describe("certificate_expiry_timestamp_seconds", "When the certificate for the platform's own addresses runs out.", "host") //nolint:gochecknoglobals // a constant
)

// collect tells how certificates stand. Customers' are counted: there may be as many as tenants, and the alert names the one in trouble.
func (t *tlsSide) collect(out chan<- prometheus.Metric) {
	if t == nil {
		return
	}
	s := acme.Summary{Count: map[acme.State]int{}, Wild: map[string]time.Time{}}
	if t.keeper != nil {
		s = t.keeper.Summary()
	}
	if t.files != nil {
		r := t.files.record()
		s.Count[acme.StateOf(r, t.Now())]++
		s.Wild[r.Host] = r.NotAfter
		if s.Next.IsZero() || r.NotAfter.Before(s.Next) {
			s.Next = r.NotAfter
		}
	}
	for state, n := range s.Count {
		out <- gauge(descCertificates, float64(n), string(state))
	}
	if !s.Next.IsZero() {
		out <- gauge(descNextExpiry, float64(s.Next.Unix()))
	}
	for host, at := range s.Wild {
		out <- gauge(descExpiry, float64(at.Unix()), host)
	}
}
