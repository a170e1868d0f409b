package api

import (
	"net/http"
	"sync"
	"time"

	"controlplane/internal/errs"
	"controlplane/internal/ratelimit"
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

// perAddress is a perSecond for each address. Its map lives for a second.
type perAddress struct {
	max int

	mu     sync.Mutex
	second int64
	calls  map[string]int
}

func (p *perAddress) full(address string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.second == now.Unix() && p.calls[address] >= p.max
}

func (p *perAddress) count(address string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if second := now.Unix(); second != p.second || p.calls == nil {
		p.second, p.calls = second, map[string]int{}
	}
	p.calls[address]++
}

// webhook hands over the raw bytes, since the signature is over them. Any answer but 200 makes the gateway deliver again, so 200
// means stored and nothing else. What isn't the gateway's counts against the address that it comes from and nobody else, so that a flood of it
// keeps no event out; an address that sends too much of it isn't even read.
func (s *server) webhook(w http.ResponseWriter, r *http.Request) error {
	address := ratelimit.Address(s.clientIP(r))
	if s.forgeries.full(address, time.Now()) {
		return errTooManyEvents.WithRetryAfter(time.Second)
	}
	body, err := readBody(w, r, s.opts.MaxWebhookBody)
	if err != nil {
		s.forgeries.count(address, time.Now())
		return err
	}
	signature := r.Header.Get("X-Paystack-Signature")
	switch signed := s.deps.Billing.Signed(body, signature); {
	case !signed:
		s.forgeries.count(address, time.Now())
	case !s.webhooks.allow(time.Now()):
		return errTooManyEvents.WithRetryAfter(time.Second)
	}
	if err := s.deps.Billing.ReceiveWebhook(r.Context(), body, signature); err != nil {
		return err
	}
	return reply(w, http.StatusOK, webhookAnswer{Status: "success"})
}
