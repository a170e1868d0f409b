package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The statuses of a refund.
const (
	refundPending        = "pending"
	refundProcessing     = "processing"
	refundProcessed      = "processed"
	refundFailed         = "failed"
	refundNeedsAttention = "needs-attention"
)

type refund struct {
	ID            int64     `json:"id"`
	Domain        string    `json:"domain"`
	TransactionID int64     `json:"transaction_id"`
	Amount        int64     `json:"amount"`
	Currency      string    `json:"currency"`
	Status        string    `json:"status"`
	Outcome       string    `json:"outcome"` // what it will end as; "" never ends by itself
	Reference     string    `json:"reference,omitempty"`
	CustomerNote  string    `json:"customer_note,omitempty"`
	MerchantNote  string    `json:"merchant_note,omitempty"`
	CreatedAt     time.Time `json:"created_at"`
	UpdatedAt     time.Time `json:"updated_at"`
}

func (r *refund) identity() int64 { return r.ID }

// ended is when the money has gone back or has stayed.
func (r *refund) ended() bool { return r.Status == refundProcessed || r.Status == refundFailed }

func (s *Simulator) createRefund(d *store, domain string, r *http.Request) answer {
	in, ok := fields(r)
	if !ok {
		return failure(http.StatusBadRequest, "Invalid request body", "invalid_params", "Send a JSON object")
	}
	t := d.refundable(text(in["transaction"]))
	if t == nil {
		return failure(http.StatusBadRequest, "Transaction not found", "transaction_not_found", "")
	}
	amount, bad := d.checkRefund(t, in)
	if bad != nil {
		return *bad
	}
	v := &refund{
		ID: s.nextID(), Domain: domain, TransactionID: t.ID, Amount: amount, Currency: t.Currency, Status: refundPending, Outcome: s.refundOutcome(t),
		CustomerNote: text(in["customer_note"]), MerchantNote: text(in["merchant_note"]), CreatedAt: s.now(), UpdatedAt: s.now(),
	}
	d.Refunds = append(d.Refunds, v)
	if v.Outcome != "" {
		s.schedule(timer{At: v.CreatedAt.Add(s.opts.RefundStep), Kind: refundMoves, Domain: domain, ID: v.ID})
	}
	s.refundMoved(d, v)
	data := s.renderRefund(v, s.takeLocked(LooseTypes, "refund") != nil)
	data["transaction"] = map[string]any{
		"id": t.ID, "domain": t.Domain, "reference": t.Reference, "amount": t.Amount, "paid_at": stamp(t.PaidAt), "channel": t.Channel,
		"currency": t.Currency, "authorization": t.authorization(), "customer": d.Customers[t.Email].render(), "plan": empty(),
		"subaccount": map[string]any{"currency": nil}, "split": empty(), "order_id": nil, "created_at": stamp(&t.CreatedAt),
		"requested_amount": t.Requested,
	}
	data["createdAt"], data["updatedAt"], data["fully_deducted"] = stamp(&v.CreatedAt), stamp(&v.UpdatedAt), false
	return success("Refund has been queued for processing", data)
}

// refundable finds a transaction by reference or id.
func (d *store) refundable(wanted string) *transaction {
	t := d.byReference[wanted]
	if id, err := strconv.ParseInt(wanted, 10, 64); err == nil && t == nil {
		t, _ = byID(d.Transactions, id)
	}
	if t == nil || t.PaidAt == nil {
		return nil
	}
	return t
}

// checkRefund returns the amount, which is the whole original one when it isn't said: also after a part was refunded.
func (d *store) checkRefund(t *transaction, in map[string]json.RawMessage) (int64, *answer) {
	refuse := func(message string) (int64, *answer) {
		a := failure(http.StatusBadRequest, message, "invalid_params", "")
		return 0, &a
	}
	taken := d.refunded(t, false)
	if t.Lost || taken >= t.Amount {
		a := failure(http.StatusBadRequest, "Transaction has been fully reversed", "transaction_reversed", "")
		a.kind = "api_error"
		return 0, &a
	}
	if currency := text(in["currency"]); currency != "" && currency != t.Currency {
		return refuse("Transaction currency must match refund currency")
	}
	amount := t.Amount
	if raw, said := in["amount"]; said {
		n, err := strconv.ParseInt(text(raw), 10, 64)
		if err != nil || n <= 0 {
			return refuse("Invalid Amount Sent")
		}
		amount = n
	}
	if amount > t.Amount {
		return refuse("Refund amount exceeds transaction amount")
	}
	if taken+amount > t.Amount {
		return refuse("Total refund amount cannot exceed original transaction amount")
	}
	return amount, nil
}

// refunded adds up what went back, and unless done what is on its way.
func (d *store) refunded(t *transaction, done bool) int64 {
	var sum int64
	for _, v := range d.Refunds {
		if v.TransactionID == t.ID && v.Status != refundFailed && (!done || v.Status == refundProcessed) {
			sum += v.Amount
		}
	}
	return sum
}

func (s *Simulator) listRefunds(d *store, _ string, r *http.Request) answer {
	q := r.URL.Query()
	var found []*refund
	for _, v := range slices.Backward(d.Refunds) {
		if numeric(q.Get("transaction"), v.TransactionID) && (q.Get("currency") == "" || q.Get("currency") == v.Currency) && within(v.CreatedAt, q) {
			found = append(found, v)
		}
	}
	loose := s.takeLocked(LooseTypes, "refunds") != nil
	a := listed("Refunds retrieved", found, q, func(v *refund) any {
		data := s.renderRefund(v, loose)
		data["created_at"], data["updated_at"], data["fully_deducted"] = stamp(&v.CreatedAt), stamp(&v.UpdatedAt), 1
		return data
	})
	a.meta = nil // the sample has none
	return a
}

func (s *Simulator) fetchRefund(d *store, _ string, r *http.Request) answer {
	v, bad := d.refundOf(r)
	if bad != nil {
		return *bad
	}
	data := s.renderRefund(v, s.takeLocked(LooseTypes, "refund_fetch") != nil)
	data["createdAt"], data["updatedAt"], data["fully_deducted"] = stamp(&v.CreatedAt), stamp(&v.UpdatedAt), true
	return success("Refund retrieved", data)
}

func (d *store) refundOf(r *http.Request) (*refund, *answer) { return named(r, d.Refunds, "Refund") }

// retryRefund goes on with the customer's bank details.
func (s *Simulator) retryRefund(d *store, domain string, r *http.Request) answer {
	v, bad := d.refundOf(r)
	if bad != nil {
		return *bad
	}
	if v.Status != refundNeedsAttention {
		return failure(http.StatusUnprocessableEntity, `Invalid Refund state, refund status should be "needs-attention"`, "", "")
	}
	in, _ := fields(r)
	var details map[string]json.RawMessage
	if json.Unmarshal(in["refund_account_details"], &details) != nil || text(details["account_number"]) == "" || text(details["bank_id"]) == "" {
		return failure(http.StatusBadRequest, "Refund account details are required", "missing_params", "")
	}
	v.Status, v.Outcome, v.UpdatedAt = refundProcessing, refundProcessed, s.now()
	s.schedule(timer{At: v.UpdatedAt.Add(s.opts.RefundStep), Kind: refundMoves, Domain: domain, ID: v.ID})
	s.refundMoved(d, v)
	data := s.renderRefund(v, false)
	data["createdAt"], data["updatedAt"], data["fully_deducted"] = stamp(&v.CreatedAt), stamp(&v.UpdatedAt), true
	return success("Refund retried and has been queued for processing", data)
}

// renderRefund leaves out what create, list and fetch write in ways of their own.
func (s *Simulator) renderRefund(v *refund, loose bool) map[string]any {
	expected := v.CreatedAt.Add(7 * 24 * time.Hour)
	data := map[string]any{
		"id": v.ID, "integration": integration, "domain": v.Domain, "transaction": v.TransactionID, "dispute": nil, "settlement": nil,
		"amount": v.Amount, "deducted_amount": v.Amount, "currency": v.Currency, "channel": nil, "status": v.Status,
		"refunded_by": "merchant@example.com", "expected_at": stamp(&expected), "customer_note": orNull(v.CustomerNote),
		"merchant_note": orNull(v.MerchantNote), "refund_reference": orNull(v.Reference),
	}
	if loose {
		data["id"], data["amount"] = strconv.FormatInt(v.ID, 10), strconv.FormatInt(v.Amount, 10)
		data["transaction"], data["deducted_amount"] = strconv.FormatInt(v.TransactionID, 10), ""
	}
	return data
}

// FinishRefund ends a refund as "processed", "failed" or "needs-attention" now.
func (s *Simulator) FinishRefund(id int64, status string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	if !slices.Contains([]string{refundProcessed, refundFailed, refundNeedsAttention}, status) {
		return fmt.Errorf("a refund doesn't end as %q", status)
	}
	for _, name := range modes() {
		d := s.state.domain(name)
		v, ok := byID(d.Refunds, id)
		switch {
		case !ok:
			continue
		case v.ended():
			return fmt.Errorf("refund %d is %s already", id, v.Status)
		}
		s.endRefund(d, v, status)
		return nil
	}
	return fmt.Errorf("no refund %d", id)
}
