package simulator

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"controlplane/internal/secrets"
)

// Delivery is one event on its way, with all its attempts.
type Delivery struct {
	ID        int64           `json:"id"`
	Domain    string          `json:"domain"`
	Event     string          `json:"event"`
	Body      json.RawMessage `json:"body"` // the exact bytes
	Signature string          `json:"signature"`
	CreatedAt time.Time       `json:"created_at"`
	NextAt    *time.Time      `json:"next_at"` // nil: no more attempts
	Held      bool            `json:"held"`    // until the next event has been delivered
	Attempts  int             `json:"attempts"`
	Delivered bool            `json:"delivered"`
	LastError string          `json:"last_error,omitempty"`

	inFlight bool
}

// Sign returns the signature of body as a header value, by the first key of a mode.
func (s *Simulator) Sign(domain string, body []byte) string { return sign(s.signingKey(domain), body) }

func sign(key secrets.Secret, body []byte) string {
	mac := hmac.New(sha512.New, []byte(key.Reveal()))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

// Send queues any event, correctly signed, as Paystack would.
func (s *Simulator) Send(domain, event string, data any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	s.enqueue(domain, event, data)
}

// enqueue makes the delivery, as the faults that are on would have it. The caller holds mu.
func (s *Simulator) enqueue(domain, event string, data any) {
	body := encode(struct {
		Event string `json:"event"`
		Data  any    `json:"data"`
	}{event, data})
	if f := s.takeLocked(WebhookTamper, ""); f != nil {
		body = tamper(body, f.Amount)
	}
	now := s.now()
	d := &Delivery{ID: s.nextID(), Domain: domain, Event: event, Body: body, CreatedAt: now, NextAt: &now}
	key := s.signingKey(domain)
	if s.takeLocked(WebhookOtherKey, "") != nil {
		key = secrets.Secret("sk_" + domain + "_of_somebody_else")
	}
	d.Signature = sign(key, body)
	if s.takeLocked(WebhookBadSignature, "") != nil {
		d.Signature = sign("x", body)
	}
	if f := s.takeLocked(WebhookDelay, ""); f != nil {
		later := now.Add(time.Duration(f.Delay))
		d.NextAt = &later
	}
	d.Held = s.takeLocked(WebhookReorder, "") != nil
	if s.takeLocked(WebhookDrop, "") != nil || s.opts.WebhookURL == "" {
		d.NextAt, d.LastError = nil, "dropped"
	}
	s.state.Deliveries = append(s.state.Deliveries, d)
	if f := s.takeLocked(WebhookDuplicate, ""); f != nil {
		for range f.Amount {
			again := *d
			again.ID = s.nextID()
			s.state.Deliveries = append(s.state.Deliveries, &again)
		}
	}
	s.forgetOld()
	s.kick()
}

const keptDeliveries = 5000

func (s *Simulator) forgetOld() {
	for len(s.state.Deliveries) > keptDeliveries && s.state.Deliveries[0].NextAt == nil {
		s.state.Deliveries = s.state.Deliveries[1:]
	}
}

func (s *Simulator) kick() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// deliverLoop starts whatever is due, each in its own goroutine, as one slow receiver must not hold up the others.
func (s *Simulator) deliverLoop(ctx context.Context) {
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		s.runDue()
		due, next := s.takeDue()
		if timer := s.nextTimer(); timer != nil && (next == nil || timer.Before(*next)) {
			next = timer
		}
		for _, d := range due {
			s.done.Go(func() { s.deliver(ctx, d) })
		}
		alarm.Reset(time.Hour)
		if next != nil && s.clock.runs() {
			alarm.Reset(max(next.Sub(s.clock.Now()), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-alarm.C:
		}
	}
}

// deliverInOrder delivers what is due, and what becomes due by that, one after the other. Nobody else does with InOrder.
func (s *Simulator) deliverInOrder() {
	for s.opts.InOrder && s.life.Err() == nil {
		due, _ := s.takeDue()
		if len(due) == 0 {
			return
		}
		slices.SortStableFunc(due, func(a, b *Delivery) int { return a.NextAt.Compare(*b.NextAt) })
		for _, d := range due {
			s.deliver(s.life, d)
		}
	}
}

// nextDue is when the clock has to stop next: at a timer, and with InOrder at a delivery.
func (s *Simulator) nextDue() *time.Time {
	next := s.nextTimer()
	if !s.opts.InOrder {
		return next
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.state.Deliveries {
		if d.NextAt != nil && !d.Held && (next == nil || d.NextAt.Before(*next)) {
			next = d.NextAt
		}
	}
	return next
}

// takeDue marks what is due as in flight and tells when the next one will be.
func (s *Simulator) takeDue() ([]*Delivery, *time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var due []*Delivery
	var next *time.Time
	for _, d := range s.state.Deliveries {
		switch {
		case d.NextAt == nil || d.Held || d.inFlight:
		case d.NextAt.After(now):
			if next == nil || d.NextAt.Before(*next) {
				next = d.NextAt
			}
		default:
			d.inFlight = true
			s.inFlight++
			due = append(due, d)
		}
	}
	s.changed.Broadcast()
	return due, next
}

func (s *Simulator) deliver(ctx context.Context, d *Delivery) {
	status, err := s.send(ctx, d)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	d.inFlight = false
	s.inFlight--
	if ctx.Err() != nil {
		return // closing: a restart delivers it again
	}
	d.Attempts++
	d.Delivered = d.Delivered || status == http.StatusOK
	d.LastError = ""
	if err != nil {
		d.LastError = err.Error()
	} else if status != http.StatusOK {
		d.LastError = fmt.Sprintf("HTTP %d", status)
	}
	d.NextAt = nil
	if d.LastError != "" {
		d.NextAt = retryAt(*d, s.now())
	}
	s.noteLocked("webhook", map[string]any{"id": d.ID, "event": d.Event, "attempt": d.Attempts, "status": status, "error": d.LastError})
	for _, other := range s.state.Deliveries {
		other.Held = other.Held && other == d
	}
	s.changed.Broadcast()
	s.kick()
}

// retryAt is the documented schedule: live every 3 minutes for the first 4 tries, then hourly for 72 hours; test hourly for 10.
func retryAt(d Delivery, now time.Time) *time.Time {
	pause, end := time.Hour, 72*time.Hour
	if d.Domain == "live" && d.Attempts < 4 {
		pause = 3 * time.Minute
	}
	if d.Domain == "test" {
		end = 10 * time.Hour
	}
	next := now.Add(pause)
	if next.Sub(d.CreatedAt) > end+12*time.Minute {
		return nil
	}
	return &next
}

// send posts the exact bytes that were signed, and returns the status; only 200 counts.
func (s *Simulator) send(ctx context.Context, d *Delivery) (int, error) {
	s.mu.Lock()
	url := s.opts.WebhookURL
	s.mu.Unlock()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(d.Body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/plain, */*")
	req.Header.Set("User-Agent", "Paystack/2.0")
	req.Header.Set("X-Paystack-Signature", d.Signature)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxRequest))
	return resp.StatusCode, err
}

// Settle waits until nothing that is due is undelivered; retries that lie in the future don't count.
func (s *Simulator) Settle(ctx context.Context) error {
	if s.opts.InOrder {
		s.runDue()
		s.deliverInOrder()
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.busy() && ctx.Err() == nil {
		s.changed.Wait()
	}
	return ctx.Err()
}

func (s *Simulator) busy() bool {
	now := s.now()
	for _, d := range s.state.Deliveries {
		if d.inFlight || d.NextAt != nil && !d.Held && !d.NextAt.After(now) {
			return true
		}
	}
	return s.inFlight > 0 || len(s.state.Timers) > 0 && !s.state.Timers[0].At.After(now)
}

// Resend delivers an event once more, as the dashboard does.
func (s *Simulator) Resend(id int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	for _, d := range s.state.Deliveries {
		if d.ID == id {
			now := s.now()
			d.NextAt, d.Held = &now, false
			s.kick()
			return nil
		}
	}
	return fmt.Errorf("no delivery %d", id)
}

// Deliveries returns every event so far, oldest first.
func (s *Simulator) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Delivery, 0, len(s.state.Deliveries))
	for _, d := range s.state.Deliveries {
		out = append(out, *d)
	}
	return out
}

// payBeforeAnswer lets the webhook overtake the answer of initialize.
func (s *Simulator) payBeforeAnswer(r *http.Request, a answer) {
	data, _ := a.data.(map[string]any)
	reference, _ := data["reference"].(string)
	if s.Pay(reference, "") == nil {
		_ = s.Settle(r.Context()) // the caller gave up: nothing to wait for
	}
}
