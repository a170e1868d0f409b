package simulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// FaultKind names one thing that goes wrong.
type FaultKind string

// The switches. API faults break the answer of a Route after the work was done, or before it with Before.
const (
	APIError500    FaultKind = "api_500"
	APIError502    FaultKind = "api_502"     // a proxy's HTML page
	APITimeout     FaultKind = "api_timeout" // no answer until the caller gives up, or for Delay; default 1 min
	APIRateLimited FaultKind = "api_429"     // with x-ratelimit-reset; never does the work
	APISlow        FaultKind = "api_slow"    // answers after Delay
	APIMalformed   FaultKind = "api_malformed"
	APIHTML        FaultKind = "api_html"    // an HTML page with status 200
	APIDrop        FaultKind = "api_drop"    // the connection is closed without an answer
	LooseTypes     FaultKind = "loose_types" // numbers as strings, "" and 0 for objects; Route may be "webhook"

	PayOnInitialize FaultKind = "pay_on_initialize" // paid, and the webhook delivered, before initialize answers
	CustomerFees    FaultKind = "customer_fees"     // the customer pays the fees too: amount is over requested_amount
	PartialDebit    FaultKind = "partial_debit"     // only Amount is taken

	ChargeDecline        FaultKind = "charge_decline"        // a saved card is declined, with Reason
	ChargePaused         FaultKind = "charge_paused"         // the bank wants the customer to approve a saved card's charge
	ChargePending        FaultKind = "charge_pending"        // a saved card's charge is decided after Delay only
	AuthorizationRotates FaultKind = "authorization_rotates" // a saved card's charge mints a new code
	RefundFails          FaultKind = "refund_fails"
	RefundNeedsAttention FaultKind = "refund_needs_attention"
	RefundStuck          FaultKind = "refund_stuck" // stays pending until FinishRefund

	WebhookDrop           FaultKind = "webhook_drop"
	WebhookDelay          FaultKind = "webhook_delay"     // by Delay
	WebhookDuplicate      FaultKind = "webhook_duplicate" // delivered Amount times more
	WebhookReorder        FaultKind = "webhook_reorder"   // delivered after the next event
	WebhookBadSignature   FaultKind = "webhook_bad_signature"
	WebhookOtherKey       FaultKind = "webhook_other_key" // signed with a key of another integration
	WebhookTamper         FaultKind = "webhook_tamper"    // says Amount instead of what was paid, correctly signed
	WebhookBeforeRedirect FaultKind = "webhook_before_redirect"
	WebhookBeforeAnswer   FaultKind = "webhook_before_answer" // the event of a charge or a refund arrives before the answer to it
)

// Fault is a switch that is on.
type Fault struct {
	Kind   FaultKind `json:"kind"`
	Route  string    `json:"route,omitempty"`  // a name of routes(), as "initialize" or "charge"; "" means every one
	Email  string    `json:"email,omitempty"`  // of the customer, for faults of a payment; "" means everybody
	Times  int       `json:"times,omitempty"`  // how often it strikes; 0: until cleared
	OneIn  int       `json:"one_in,omitempty"` // it strikes at random, once in so many; 0 and 1: always
	Delay  Duration  `json:"delay,omitempty"`
	Amount int64     `json:"amount,omitempty"`
	Before bool      `json:"before,omitempty"`
	Reason string    `json:"reason,omitempty"` // the bank's answer, default "Insufficient Funds"
}

func (f Fault) concerns(kind FaultKind, route, email string) bool {
	return f.Kind == kind && (f.Route == "" || route == "" || f.Route == route) && (f.Email == "" || f.Email == email)
}

// Duration is written as "3m0s" in JSON.
type Duration time.Duration

// MarshalText writes the usual Go form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the usual Go form.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

func apiFaults() []FaultKind {
	return []FaultKind{APIError500, APIError502, APITimeout, APIRateLimited, APISlow, APIMalformed, APIHTML, APIDrop}
}

// FaultKinds are all switches that there are.
func FaultKinds() []FaultKind {
	return append(apiFaults(), LooseTypes, PayOnInitialize, CustomerFees, PartialDebit, ChargeDecline, ChargePaused, ChargePending,
		AuthorizationRotates, RefundFails, RefundNeedsAttention, RefundStuck, WebhookDrop, WebhookDelay, WebhookDuplicate,
		WebhookReorder, WebhookBadSignature, WebhookOtherKey, WebhookTamper, WebhookBeforeRedirect, WebhookBeforeAnswer)
}

// AddFault turns a switch on.
func (s *Simulator) AddFault(f Fault) error {
	if !slices.Contains(FaultKinds(), f.Kind) {
		return fmt.Errorf("unknown fault %q; known are %q", f.Kind, FaultKinds())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	s.noteLocked("fault", map[string]any{"kind": f.Kind, "route": f.Route, "times": f.Times})
	return nil
}

// ClearFaults turns every switch off.
func (s *Simulator) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// Faults returns the switches that are on.
func (s *Simulator) Faults() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Fault, 0, len(s.faults))
	for _, f := range s.faults {
		out = append(out, *f)
	}
	return out
}

// Struck returns how often each switch has done its harm so far.
func (s *Simulator) Struck() map[FaultKind]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.struck)
}

func (s *Simulator) take(kind FaultKind, route string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.takeLocked(kind, route)
}

func (s *Simulator) takeLocked(kind FaultKind, route string) *Fault { return s.strike(kind, route, "") }

// takeFor is takeLocked for what happens to a customer's payment.
func (s *Simulator) takeFor(kind FaultKind, email string) *Fault { return s.strike(kind, "", email) }

// strike returns the first switch of a kind that concerns the route and the customer, and counts that it struck.
func (s *Simulator) strike(kind FaultKind, route, email string) *Fault {
	for i, f := range s.faults {
		if !f.concerns(kind, route, email) || f.OneIn > 1 && s.chance.IntN(f.OneIn) != 0 {
			continue
		}
		s.struck[kind]++
		struck := *f
		if f.Times == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Times > 1 {
			f.Times--
		}
		return &struck
	}
	return nil
}

func (s *Simulator) takeAPIFault(route string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, kind := range apiFaults() {
		if f := s.takeLocked(kind, route); f != nil {
			if kind == APIRateLimited {
				f.Before = true
			}
			return f
		}
	}
	return nil
}

// breakAnswer writes what the caller gets in place of a.
func (s *Simulator) breakAnswer(w http.ResponseWriter, r *http.Request, f Fault, a answer) {
	s.note("api_fault", map[string]any{"kind": f.Kind, "path": r.URL.Path, "before": f.Before})
	switch f.Kind {
	case APIError500:
		failure(http.StatusInternalServerError, "An error occurred", "unknown", "").write(w)
	case APIError502:
		writeHTML(w, http.StatusBadGateway)
	case APIHTML:
		writeHTML(w, http.StatusOK)
	case APIMalformed:
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"status":true,"message":"Verification succ`))
	case APIRateLimited:
		if f.Delay >= 0 { // below: it doesn't say when
			w.Header().Set("X-Ratelimit-Reset", strconv.Itoa(max(1, int(time.Duration(f.Delay).Seconds()))))
		}
		failure(http.StatusTooManyRequests, "Too many requests", "rate_limited", "").write(w)
	case APISlow:
		if pause(r, time.Duration(f.Delay)) {
			a.write(w)
		}
	case APIDrop:
		panic(http.ErrAbortHandler)
	default: // APITimeout
		pause(r, cmp.Or(time.Duration(f.Delay), time.Minute))
		panic(http.ErrAbortHandler)
	}
}

// pause waits in real time, as a caller's time-out does, and reports whether the caller is still there.
func pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.Context().Done():
		return false
	case <-timer.C:
		return true
	}
}

func writeHTML(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<html><head><title>Error</title></head><body><h1>Something went wrong</h1></body></html>"))
}

// tamper changes the amount in an event's body.
func tamper(body []byte, amount int64) []byte {
	var event struct {
		Event string         `json:"event"`
		Data  map[string]any `json:"data"`
	}
	if json.Unmarshal(body, &event) != nil {
		return body
	}
	event.Data["amount"] = amount
	return encode(event)
}
