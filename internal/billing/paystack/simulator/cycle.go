package simulator

import (
	"encoding/json"
	"fmt"
	"time"
)

// invoice is one period of a subscription.
type invoice struct {
	Code      string     `json:"code"` // INV_…
	Amount    int64      `json:"amount"`
	Start     time.Time  `json:"start"`
	End       time.Time  `json:"end"`
	Status    string     `json:"status"`
	Paid      bool       `json:"paid"`
	PaidAt    *time.Time `json:"paid_at,omitempty"`
	Reference string     `json:"reference,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	CreatedAt time.Time  `json:"created_at"`
}

func intervals() []string {
	return []string{"hourly", "daily", "weekly", "monthly", "quarterly", "biannually", "annually"}
}

// following is the next payment after at; one that would be on day 29 to 31 is on the 28th.
func following(interval string, at time.Time) time.Time {
	months := map[string]int{"monthly": 1, "quarterly": 3, "biannually": 6, "annually": 12}[interval]
	switch interval {
	case "hourly":
		return at.Add(time.Hour)
	case "daily":
		return at.AddDate(0, 0, 1)
	case "weekly":
		return at.AddDate(0, 0, 7)
	}
	return at.AddDate(0, 0, min(at.Day(), 28)-at.Day()).AddDate(0, months, 0)
}

const invoiceLead = 3 * 24 * time.Hour

// nextPayment draws the invoice three days before, or at once when the date is nearer.
func (s *Simulator) nextPayment(v *subscription, at time.Time) {
	v.NextAt = &at
	drawn := at.Add(-invoiceLead)
	if drawn.Before(s.now()) {
		drawn = s.now()
	}
	s.schedule(timer{At: drawn, Kind: invoiceDrawn, Domain: v.Domain, ID: v.ID})
	s.schedule(timer{At: at, Kind: subscriptionDue, Domain: v.Domain, ID: v.ID})
}

// moveSubscription leaves out the timers of a date that isn't the next one any more.
func (s *Simulator) moveSubscription(d *store, v *subscription, t timer) {
	due := t.Kind == subscriptionDue && v.NextAt != nil && v.NextAt.Equal(t.At)
	switch {
	case t.Kind == invoiceDrawn && v.live() && v.Open == nil && v.NextAt != nil:
		s.drawInvoice(d, v)
	case due && v.live():
		s.renew(d, v)
	case due && v.Status == "non-renewing":
		s.endSubscription(d, v, "cancelled", "cancelled")
	}
}

func (s *Simulator) endSubscription(d *store, v *subscription, status, said string) {
	v.Status, v.NextAt, v.Open = status, nil, nil
	event := v.event(d)
	event["status"] = said
	s.enqueue(v.Domain, "subscription.disable", event)
}

func (s *Simulator) drawInvoice(d *store, v *subscription) {
	p := d.plan(v.PlanCode)
	v.Open = &invoice{
		Code: "INV_" + s.code(15), Amount: v.Amount, Start: *v.NextAt, End: following(p.Interval, *v.NextAt).Add(-time.Second), Status: "pending",
		CreatedAt: s.now(),
	}
	s.enqueue(v.Domain, "invoice.create", v.Open.event(d, v))
}

// renew charges once: what fails isn't tried again before the next date.
func (s *Simulator) renew(d *store, v *subscription) {
	if v.Open == nil {
		s.drawInvoice(d, v)
	}
	p, bill := d.plan(v.PlanCode), v.Open
	t := &transaction{
		Domain: v.Domain, Status: "abandoned", CreatedAt: s.now(), Email: v.Email, Currency: p.Currency, Amount: v.Amount, Requested: v.Amount,
		Reference: s.uuid(), Metadata: json.RawMessage(`{"invoice_action":"create"}`), SavedCode: v.AuthCode, PlanCode: p.Code, Channel: "card",
	}
	s.open(d, t)
	s.decideCharge(d, t)
	bill.Paid, bill.Status, bill.PaidAt, bill.Reference = t.PaidAt != nil, t.Status, t.PaidAt, t.Reference
	v.Status = "active"
	if !bill.Paid {
		v.Status, bill.Status, bill.Reason, bill.Reference = "attention", "pending", t.GatewayResponse, ""
		s.enqueue(v.Domain, "invoice.payment_failed", bill.event(d, v))
		bill.Status = "failed"
	} else {
		v.Paid++
	}
	s.enqueue(v.Domain, "invoice.update", bill.event(d, v))
	v.Open, v.Last = nil, bill
	if v.InvoiceLimit > 0 && v.Paid >= v.InvoiceLimit {
		s.endSubscription(d, v, "completed", "complete") // both spellings are Paystack's
		return
	}
	s.nextPayment(v, following(p.Interval, *v.NextAt))
}

// uuid is a reference that Paystack made: not the merchant's.
func (s *Simulator) uuid() string {
	text := s.code(32)
	return fmt.Sprintf("%s-%s-%s-%s-%s", text[:8], text[8:12], text[12:16], text[16:20], text[20:])
}

func (v *subscription) render(d *store) map[string]any {
	p, c := d.plan(v.PlanCode), d.Customers[v.Email]
	return map[string]any{
		"id": v.ID, "integration": integration, "domain": v.Domain, "status": v.Status, "subscription_code": v.Code, "email_token": v.Token,
		"amount": v.Amount, "quantity": 1, "start": v.Start.Unix(), "invoice_limit": v.InvoiceLimit, "cron_expression": p.cron(v.Start),
		"next_payment_date": stamp(v.NextAt), "open_invoice": v.openCode(), "customer": c.render(), "plan": p.brief(),
		"authorization": v.authorization(d), "createdAt": stamp(&v.CreatedAt), "updatedAt": stamp(&v.CreatedAt),
	}
}

func (v *subscription) openCode() any {
	if v.Open == nil {
		return nil
	}
	return v.Open.Code
}

func (v *subscription) authorization(d *store) any {
	if a := d.byAuthCode[v.AuthCode]; a != nil {
		return a.render()
	}
	return empty()
}

func (v *subscription) event(d *store) map[string]any {
	o := v.render(d)
	o["created_at"] = o["createdAt"]
	return o
}

func (p *plan) cron(start time.Time) string {
	switch p.Interval {
	case "hourly":
		return "0 * * * *"
	case "daily":
		return "0 0 * * *"
	case "weekly":
		return fmt.Sprintf("0 0 * * %d", start.Weekday())
	}
	return fmt.Sprintf("0 0 %d * *", min(start.Day(), 28))
}

func (i *invoice) event(d *store, v *subscription) map[string]any {
	transaction := map[string]any{}
	if i.Paid {
		transaction = map[string]any{"reference": i.Reference, "status": "success", "amount": i.Amount, "currency": d.plan(v.PlanCode).Currency}
	}
	return map[string]any{
		"domain": v.Domain, "invoice_code": i.Code, "amount": i.Amount, "period_start": stamp(&i.Start), "period_end": stamp(&i.End),
		"status": i.Status, "paid": i.Paid, "paid_at": stamp(i.PaidAt), "description": orNull(i.Reason), "authorization": v.authorization(d),
		"subscription": map[string]any{
			"status": v.Status, "subscription_code": v.Code, "email_token": v.Token, "amount": v.Amount,
			"cron_expression": d.plan(v.PlanCode).cron(v.Start), "next_payment_date": stamp(v.NextAt), "open_invoice": v.openCode(),
		},
		"customer": d.Customers[v.Email].render(), "transaction": transaction, "created_at": stamp(&i.CreatedAt),
	}
}

// brief has 0 and 1 where the events have booleans.
func (i *invoice) brief() map[string]any {
	paid := 0
	if i.Paid {
		paid = 1
	}
	return map[string]any{
		"invoice_code": i.Code, "amount": i.Amount, "period_start": stamp(&i.Start), "period_end": stamp(&i.End), "status": i.Status, "paid": paid,
		"paid_at": stamp(i.PaidAt), "description": orNull(i.Reason), "createdAt": stamp(&i.CreatedAt),
	}
}
