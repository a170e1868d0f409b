package simulator

import (
	"slices"
	"time"
)

// timerKind says what happens then.
type timerKind string

const (
	chargeDecided   timerKind = "charge_decided"
	refundMoves     timerKind = "refund_moves"
	disputeReminded timerKind = "dispute_reminded"
	disputeExpires  timerKind = "dispute_expires"
	invoiceDrawn    timerKind = "invoice_drawn"
	subscriptionDue timerKind = "subscription_due"
)

// timer is something that Paystack does by itself later.
type timer struct {
	At     time.Time `json:"at"`
	Kind   timerKind `json:"kind"`
	Domain string    `json:"domain"`
	ID     int64     `json:"id"` // of the transaction, refund, dispute or subscription
}

// schedule keeps the order of those that are due at one time. The caller holds mu.
func (s *Simulator) schedule(t timer) {
	i, _ := slices.BinarySearchFunc(s.state.Timers, t, func(a, b timer) int {
		if a.At.After(b.At) {
			return 1
		}
		return -1
	})
	s.state.Timers = slices.Insert(s.state.Timers, i, t)
	s.kick()
}

func (s *Simulator) nextTimer() *time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.state.Timers) == 0 {
		return nil
	}
	at := s.state.Timers[0].At
	return &at
}

// runDue does all that is due.
func (s *Simulator) runDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	ran := false
	for len(s.state.Timers) > 0 && !s.state.Timers[0].At.After(s.now()) {
		t := s.state.Timers[0]
		s.state.Timers = slices.Delete(s.state.Timers, 0, 1)
		s.fire(t)
		ran = true
	}
	if ran {
		s.save()
		s.changed.Broadcast()
	}
}

// fire leaves out what has been settled otherwise in the meantime.
func (s *Simulator) fire(t timer) {
	d := s.state.domain(t.Domain)
	switch t.Kind {
	case chargeDecided:
		if v, ok := byID(d.Transactions, t.ID); ok && v.Status == "pending" {
			s.decideCharge(d, v)
		}
	case refundMoves:
		if v, ok := byID(d.Refunds, t.ID); ok {
			s.moveRefund(d, v)
		}
	case disputeReminded:
		if v, ok := byID(d.Disputes, t.ID); ok && v.Status == awaitingMerchant {
			s.remindDispute(d, v)
		}
	case disputeExpires:
		if v, ok := byID(d.Disputes, t.ID); ok && v.Status == awaitingMerchant {
			s.closeDispute(d, v, "auto-accepted", true)
		}
	case invoiceDrawn, subscriptionDue:
		if v, ok := byID(d.Subscriptions, t.ID); ok {
			s.moveSubscription(d, v, t)
		}
	}
}
