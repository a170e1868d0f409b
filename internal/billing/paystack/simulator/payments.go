package simulator

import (
	"fmt"
	"slices"
	"time"
)

// pay settles a transaction with a card that is seen for the first time.
func (s *Simulator) pay(t *transaction, c card) {
	a := s.mint(s.state.domain(t.Domain), t.Email, c)
	s.settle(t, c, a.Code, "Successful")
	s.startSubscription(t, a)
}

// settle makes a transaction paid and queues its event. The caller holds mu.
func (s *Simulator) settle(t *transaction, c card, authCode, response string) {
	now := s.now()
	t.Status, t.GatewayResponse, t.Message, t.Channel = "success", response, "", "card"
	t.PaidAt, t.Card, t.AuthCode, t.Challenge = &now, c.Number, authCode, nil
	t.Attempts++
	fees := t.Requested * s.opts.FeeBasisPoints / 10_000
	t.Fees = &fees
	if s.takeFor(CustomerFees, t.Email) != nil {
		t.Amount = t.Requested + fees
	}
	if f := s.takeFor(PartialDebit, t.Email); f != nil {
		t.Amount = f.Amount
	}
	s.remember(t, "success", "Successfully paid with card")
	s.noteLocked("paid", map[string]any{"reference": t.Reference, "amount": t.Amount, "domain": t.Domain})
	s.enqueue(t.Domain, "charge.success", s.eventData(t))
}

// decline ends an attempt. The first one leaves the transaction open, as the customer may try another card.
func (s *Simulator) decline(t *transaction, reason string, final bool) {
	t.Attempts++
	t.Errors++
	t.Challenge = nil
	t.GatewayResponse = reason
	t.Status = "abandoned"
	if final || t.Errors > 1 {
		t.Status = "failed"
	}
	s.remember(t, "error", "Error: "+reason)
	s.noteLocked("declined", map[string]any{"reference": t.Reference, "reason": reason, "status": t.Status})
}

func (s *Simulator) remember(t *transaction, kind, message string) {
	seconds := int64(s.now().Sub(t.CreatedAt).Seconds())
	t.History = append(t.History, historyEntry{Type: kind, Message: message, Time: seconds})
}

// Pay pays a transaction as the checkout page does, with a test card's number ("": one that always works).
func (s *Simulator) Pay(reference, number string) error {
	return s.change(reference, func(t *transaction) error {
		c, ok := findCard(number)
		switch {
		case t.PaidAt != nil:
			return fmt.Errorf("transaction %q is %s already", reference, t.Status)
		case !ok:
			return fmt.Errorf("no test card %q", number)
		case c.Declined != "":
			s.decline(t, c.Declined, false)
		default:
			s.pay(t, c)
		}
		return nil
	})
}

// change does something to one transaction, of whichever mode.
func (s *Simulator) change(reference string, do func(t *transaction) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	t, err := s.findReference(reference)
	if err != nil {
		return err
	}
	return do(t)
}

// SetStatus makes a transaction any status, without an event, as refunds and disputes do.
func (s *Simulator) SetStatus(reference, status string) error {
	return s.change(reference, func(t *transaction) error {
		t.Status = status
		return nil
	})
}

// Imported is a payment that wasn't made here.
type Imported struct {
	Domain    string    `json:"domain"` // "test" or "live"
	Reference string    `json:"reference"`
	Email     string    `json:"email"`
	Amount    int64     `json:"amount"`
	Currency  string    `json:"currency"`
	PaidAt    time.Time `json:"paid_at"` // each not before the one before it, as in Paystack's list
}

// Import adds successful transactions without an event: what the dashboard made, or very many at once.
func (s *Simulator) Import(list ...Imported) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	c, _ := findCard("")
	for _, in := range list {
		if !slices.Contains(modes(), in.Domain) {
			return fmt.Errorf("no mode %q", in.Domain)
		}
		d := s.state.domain(in.Domain)
		if in.Reference == "" || in.Email == "" || d.byReference[in.Reference] != nil {
			return fmt.Errorf("transaction %q has no e-mail, or is there already", in.Reference)
		}
		at := in.PaidAt.UTC().Truncate(time.Millisecond)
		fees := in.Amount * s.opts.FeeBasisPoints / 10_000
		t := &transaction{
			Domain: in.Domain, Reference: in.Reference, Status: "success", Amount: in.Amount, Requested: in.Amount, Currency: in.Currency,
			Email: in.Email, Channel: "card", GatewayResponse: "Successful", PaidAt: &at, CreatedAt: at, Fees: &fees, Card: c.Number,
		}
		s.open(d, t)
		t.AuthCode = s.mint(d, t.Email, c).Code
	}
	return nil
}
