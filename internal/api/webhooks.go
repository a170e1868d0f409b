package api

import (
	"net/http"
	"sync"
	"time"

	"controlplane/internal/errs"
)

var errTooManyEvents = errs.New(errs.RateLimited, "too_many_events", "Too many events at once. Please deliver it again.")

// perSecond lets so many calls through in each second. It keeps a flood from the database, and needs none itself.
type perSecond struct {
	max int

	mu     sync.Mutex
	second int64
	calls  int
}

func (p *perSecond) allow(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if second := now.Unix(); second != p.second {
		p.second, p.calls = second, 0
	}
	p.calls++
	return p.calls <= p.max
}

// webhook hands over the raw bytes, since the signature is over them. Any answer but 200 makes the gateway deliver again, so 200
// means stored and nothing else.
func (s *server) webhook(w http.ResponseWriter, r *http.Request) error {
	if !s.webhooks.allow(time.Now()) {
		return errTooManyEvents.WithRetryAfter(time.Second)
	}
	body, err := readBody(w, r, s.opts.MaxWebhookBody)
	if err != nil {
		return err
	}
	if err := s.deps.Billing.ReceiveWebhook(r.Context(), body, r.Header.Get("X-Paystack-Signature")); err != nil {
		return err
	}
	return reply(w, http.StatusOK, webhookAnswer{Status: "success"})
}
