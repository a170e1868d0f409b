package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// OpenDispute lets the customer's bank demand a payment back, as a whole when amount is 0, and returns the dispute's id.
func (s *Simulator) OpenDispute(reference, category string, amount int64) (id int64, err error) {
	err = s.change(reference, func(t *transaction) error {
		d, wanted := s.state.domain(t.Domain), cmp.Or(amount, t.Amount)
		if err := d.disputable(t, wanted); err != nil {
			return err
		}
		id = s.openDispute(d, t, cmp.Or(category, "chargeback"), wanted)
		return nil
	})
	return id, err
}

func (s *Simulator) openDispute(d *store, t *transaction, category string, amount int64) int64 {
	now := s.now()
	v := &dispute{
		ID: s.nextID(), Domain: t.Domain, TransactionID: t.ID, Amount: amount, Category: category, Status: awaitingMerchant,
		History: []disputeEntry{{Status: "pending", By: "bank@example.com", At: now}}, DueAt: dueAt(now, t.Currency), CreatedAt: now, UpdatedAt: now,
	}
	d.Disputes = append(d.Disputes, v)
	s.schedule(timer{At: v.DueAt, Kind: disputeExpires, Domain: v.Domain, ID: v.ID})
	s.schedule(timer{At: now.Add(s.opts.RemindEvery), Kind: disputeReminded, Domain: v.Domain, ID: v.ID})
	s.disputeMoved(d, v, "charge.dispute.create")
	return v.ID
}

func (d *store) disputable(t *transaction, amount int64) error {
	switch {
	case t.PaidAt == nil || t.Lost || t.Status == "reversed":
		return fmt.Errorf("transaction %q holds no money", t.Reference)
	case amount < 0 || amount > t.Amount:
		return errors.New("the amount is over what was paid")
	}
	for _, v := range d.Disputes {
		if v.TransactionID == t.ID && v.Status != resolved {
			return fmt.Errorf("transaction %q is disputed already", t.Reference)
		}
	}
	return nil
}

// dueAt counts hours of business days: 16 in Nigeria, 48 elsewhere.
func dueAt(at time.Time, currency string) time.Time {
	left := 48 * time.Hour
	if currency == "NGN" {
		left = 16 * time.Hour
	}
	for {
		midnight := at.Truncate(24 * time.Hour).Add(24 * time.Hour)
		if day := at.Weekday(); day == time.Saturday || day == time.Sunday {
			at = midnight
			continue
		}
		if today := midnight.Sub(at); today < left {
			at, left = midnight, left-today
			continue
		}
		return at.Add(left)
	}
}

func (s *Simulator) remindDispute(d *store, v *dispute) {
	if next := s.now().Add(s.opts.RemindEvery); next.Before(v.DueAt) {
		s.schedule(timer{At: next, Kind: disputeReminded, Domain: v.Domain, ID: v.ID})
	}
	s.disputeMoved(d, v, "charge.dispute.remind")
}

// closeDispute ends it; one that is lost takes the money away.
func (s *Simulator) closeDispute(d *store, v *dispute, resolution string, lost bool) {
	now := s.now()
	v.Status, v.Resolution, v.ResolvedAt, v.UpdatedAt = resolved, resolution, &now, now
	v.History = append(v.History, disputeEntry{Status: resolved, By: "bank@example.com", At: now})
	t, _ := byID(d.Transactions, v.TransactionID)
	t.Lost = t.Lost || lost
	s.refreshStatus(d, t)
	s.disputeMoved(d, v, "charge.dispute.resolve")
}

// DecideDispute is the bank's word after the merchant declined its demand.
func (s *Simulator) DecideDispute(id int64, lost bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	for _, name := range modes() {
		d := s.state.domain(name)
		v, ok := byID(d.Disputes, id)
		switch {
		case !ok:
			continue
		case v.Status == resolved:
			return fmt.Errorf("dispute %d is resolved already", id)
		case lost:
			s.closeDispute(d, v, "merchant-accepted", true)
		default:
			s.closeDispute(d, v, "declined", false)
		}
		return nil
	}
	return fmt.Errorf("no dispute %d", id)
}

func (s *Simulator) disputeMoved(d *store, v *dispute, event string) {
	data := s.renderDispute(d, v, s.takeLocked(LooseTypes, "webhook") != nil)
	data["created_at"], data["updated_at"] = data["createdAt"], data["updatedAt"]
	delete(data, "createdAt")
	delete(data, "updatedAt")
	s.noteLocked("dispute", map[string]any{"id": v.ID, "event": event, "status": v.Status, "resolution": v.Resolution})
	s.enqueue(v.Domain, event, data)
}
