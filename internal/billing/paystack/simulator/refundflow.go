package simulator

import "strconv"

// refundOutcome is decided by the card that paid, or by a switch.
func (s *Simulator) refundOutcome(t *transaction) string {
	switch {
	case s.takeFor(RefundStuck, t.Email) != nil:
		return ""
	case t.Card == "4084080000671803" || s.takeFor(RefundFails, t.Email) != nil:
		return refundFailed
	case t.Card == "4084080000671902" || s.takeFor(RefundNeedsAttention, t.Email) != nil:
		return refundNeedsAttention
	}
	return refundProcessed
}

// moveRefund is the next step of a refund that goes by itself.
func (s *Simulator) moveRefund(d *store, v *refund) {
	switch v.Status {
	case refundPending:
		v.Status, v.UpdatedAt = refundProcessing, s.now()
		s.schedule(timer{At: v.UpdatedAt.Add(s.opts.RefundStep), Kind: refundMoves, Domain: v.Domain, ID: v.ID})
		s.refundMoved(d, v)
	case refundProcessing:
		s.endRefund(d, v, v.Outcome)
	}
}

func (s *Simulator) endRefund(d *store, v *refund, status string) {
	v.Status, v.UpdatedAt = status, s.now()
	if status == refundProcessed {
		v.Reference = strconv.FormatInt(s.nextID()%10_000_000, 10)
	}
	s.refundMoved(d, v)
}

// refundMoved tells of a refund's new status, and lets the transaction follow.
func (s *Simulator) refundMoved(d *store, v *refund) {
	t, _ := byID(d.Transactions, v.TransactionID)
	s.refreshStatus(d, t)
	s.noteLocked("refund", map[string]any{"id": v.ID, "reference": t.Reference, "status": v.Status, "amount": v.Amount})
	s.enqueue(v.Domain, "refund."+v.Status, s.refundEvent(d, t, v))
}

// refreshStatus: while a refund is on its way, full or partial, the transaction isn't a success; a failed one gives it back.
func (s *Simulator) refreshStatus(d *store, t *transaction) {
	done := d.refunded(t, true)
	switch {
	case t.Lost:
		t.Status = "reversed"
	case d.refunded(t, false) > done:
		t.Status = "reversal-pending"
	case done >= t.Amount:
		t.Status = "reversed"
	case done > 0:
		t.Status = s.opts.PartlyRefunded
	default:
		t.Status = "success"
	}
}

// refundEvent is as mixed as Paystack's: the amount is text or a number, and one event alone has an id, as text.
func (s *Simulator) refundEvent(d *store, t *transaction, v *refund) any {
	c := d.Customers[t.Email]
	data := map[string]any{
		"status": v.Status, "transaction_reference": t.Reference, "refund_reference": orNull(v.Reference), "currency": v.Currency,
		"amount": strconv.FormatInt(v.Amount, 10), "processor": "mpgs_zen", "integration": integration, "domain": v.Domain,
		"customer": map[string]any{"first_name": orNull(c.FirstName), "last_name": orNull(c.LastName), "email": c.Email},
	}
	if s.opts.RefundEventIDs {
		data["id"] = v.ID
	}
	switch v.Status {
	case refundFailed:
		data["amount"] = v.Amount
	case refundNeedsAttention:
		data["amount"], data["id"] = v.Amount, strconv.FormatInt(v.ID, 10)
		data["customer_note"], data["merchant_note"] = orNull(v.CustomerNote), orNull(v.MerchantNote)
		delete(data, "processor")
	}
	return data
}
