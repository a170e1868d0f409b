package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

type plan struct {
	ID           int64     `json:"id"`
	Code         string    `json:"code"` // PLN_…
	Name         string    `json:"name"`
	Description  string    `json:"description,omitempty"`
	Amount       int64     `json:"amount"`
	Interval     string    `json:"interval"`
	Currency     string    `json:"currency"`
	InvoiceLimit int       `json:"invoice_limit"`
	SendInvoices bool      `json:"send_invoices"`
	SendSMS      bool      `json:"send_sms"`
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

const leastPlanAmount = 10_000

// plan finds by code or id; nil for "".
func (d *store) plan(idOrCode string) *plan {
	for _, p := range d.Plans {
		if idOrCode != "" && (p.Code == idOrCode || strconv.FormatInt(p.ID, 10) == idOrCode) {
			return p
		}
	}
	return nil
}

func planOf(d *store, raw json.RawMessage) (*plan, *answer) {
	p := d.plan(text(raw))
	if p == nil && text(raw) != "" {
		a := failure(http.StatusBadRequest, "Plan not found", "not_found", "")
		return nil, &a
	}
	return p, nil
}

// brief is how transactions and subscriptions show it.
func (p *plan) brief() map[string]any {
	return map[string]any{
		"id": p.ID, "name": p.Name, "plan_code": p.Code, "description": orNull(p.Description), "amount": p.Amount, "interval": p.Interval,
		"send_invoices": p.SendInvoices, "send_sms": p.SendSMS, "currency": p.Currency,
	}
}

func (p *plan) full(domain string) map[string]any {
	o := p.brief()
	o["integration"], o["domain"], o["hosted_page"], o["migrate"], o["invoice_limit"] = integration, domain, false, false, p.InvoiceLimit
	o["createdAt"], o["updatedAt"] = stamp(&p.CreatedAt), stamp(&p.UpdatedAt)
	return o
}

// change takes what is said, and refuses what Paystack refuses.
func (p *plan) change(in map[string]json.RawMessage) *answer {
	refuse := func(message string) *answer {
		a := failure(http.StatusBadRequest, message, "invalid_params", "")
		return &a
	}
	for name, field := range map[string]*string{"name": &p.Name, "description": &p.Description, "interval": &p.Interval, "currency": &p.Currency} {
		if raw, ok := in[name]; ok {
			*field = text(raw)
		}
	}
	if raw, ok := in["amount"]; ok {
		p.Amount, _ = strconv.ParseInt(text(raw), 10, 64) // refused below
	}
	if raw, ok := in["invoice_limit"]; ok {
		p.InvoiceLimit, _ = strconv.Atoi(text(raw)) // anything else is no limit
	}
	for name, field := range map[string]*bool{"send_invoices": &p.SendInvoices, "send_sms": &p.SendSMS} {
		if raw, ok := in[name]; ok {
			*field = string(raw) == "true"
		}
	}
	_, enabled := minimum(p.Currency)
	switch {
	case p.Name == "":
		return refuse("Name is required")
	case !slices.Contains(intervals(), p.Interval): // case counts
		return refuse("Invalid interval selected")
	case !enabled:
		return refuse("Currency not supported by merchant")
	case p.Amount < leastPlanAmount || p.Amount > maxAmount:
		return refuse("Invalid Amount Sent")
	}
	return nil
}

func (s *Simulator) createPlan(d *store, domain string, r *http.Request) answer {
	in, _ := fields(r)
	p := &plan{Currency: "NGN", SendInvoices: true, SendSMS: true, CreatedAt: s.now(), UpdatedAt: s.now()}
	if bad := p.change(in); bad != nil {
		return *bad
	}
	p.ID, p.Code = s.nextID(), "PLN_"+s.code(15)
	d.Plans = append(d.Plans, p)
	return success("Plan created", p.full(domain))
}

func (s *Simulator) listPlans(d *store, domain string, r *http.Request) answer {
	q := r.URL.Query()
	var found []*plan
	for _, p := range slices.Backward(d.Plans) {
		if (q.Get("interval") == "" || q.Get("interval") == p.Interval) && numeric(q.Get("amount"), p.Amount) && within(p.CreatedAt, q) {
			found = append(found, p)
		}
	}
	return listed("Plans retrieved", found, q, func(p *plan) any { return p.full(domain) })
}

func (s *Simulator) fetchPlan(d *store, domain string, r *http.Request) answer {
	p := d.plan(r.PathValue("code"))
	if p == nil {
		return failure(http.StatusNotFound, "Plan not found", "not_found", "")
	}
	data := p.full(domain)
	subscriptions := []any{}
	for _, v := range d.Subscriptions {
		if v.PlanCode == p.Code {
			subscriptions = append(subscriptions, v.render(d))
		}
	}
	data["subscriptions"] = subscriptions
	return success("Plan retrieved", data)
}

// updatePlan touches the plan's subscriptions too, unless it is told not to.
func (s *Simulator) updatePlan(d *store, domain string, r *http.Request) answer {
	in, _ := fields(r)
	p := d.plan(r.PathValue("code"))
	if p == nil {
		return failure(http.StatusNotFound, "Plan not found", "not_found", "")
	}
	changed := *p
	if bad := changed.change(in); bad != nil {
		return *bad
	}
	changed.UpdatedAt = s.now()
	*p = changed
	affected := 0
	for _, v := range d.Subscriptions {
		if v.PlanCode == p.Code && v.live() && string(in["update_existing_subscriptions"]) != "false" {
			v.Amount = p.Amount
			affected++
		}
	}
	return success(fmt.Sprintf("Plan updated. %d subscription(s) affected", affected), p.full(domain))
}
