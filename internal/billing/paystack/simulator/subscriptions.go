package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

type subscription struct {
	ID           int64      `json:"id"`
	Domain       string     `json:"domain"`
	Code         string     `json:"code"` // SUB_…
	Token        string     `json:"token"`
	Email        string     `json:"email"`
	PlanCode     string     `json:"plan_code"`
	AuthCode     string     `json:"auth_code"`
	Amount       int64      `json:"amount"`
	Status       string     `json:"status"` // active, non-renewing, attention, completed, cancelled
	Start        time.Time  `json:"start"`
	NextAt       *time.Time `json:"next_at"`
	InvoiceLimit int        `json:"invoice_limit"`
	Paid         int        `json:"paid"` // how many times
	Open         *invoice   `json:"open,omitempty"`
	Last         *invoice   `json:"last,omitempty"`
	CreatedAt    time.Time  `json:"created_at"`
}

func (v *subscription) identity() int64 { return v.ID }

func (v *subscription) live() bool { return v.Status == "active" || v.Status == "attention" }

// subscribe is POST /subscription. A start_date that can't be read is refused and leaves a subscription all the same, one that is
// never paid: it was seen.
func (s *Simulator) subscribe(d *store, domain string, r *http.Request) answer {
	in, _ := fields(r)
	c, p := d.customer(text(in["customer"])), d.plan(text(in["plan"]))
	switch {
	case c == nil:
		return customerNotFound()
	case p == nil:
		return failure(http.StatusNotFound, "Plan not found", "not_found", "")
	}
	a, bad := subscriber(d, c, in["authorization"])
	if bad != nil {
		return *bad
	}
	for _, v := range d.Subscriptions {
		if v.Email == c.Email && v.PlanCode == p.Code && v.live() {
			return failure(http.StatusBadRequest, "This subscription is already in place.", "duplicate_subscription", "")
		}
	}
	v := s.newSubscription(d, domain, a, p)
	if raw, said := in["start_date"]; said {
		at := parseTime(text(raw))
		if at.IsZero() {
			return failure(http.StatusBadRequest, "Invalid start date", "invalid_params", "")
		}
		s.nextPayment(v, at)
	} else if s.opts.SubscribeDebitsNow {
		s.nextPayment(v, s.now())
	} else {
		s.nextPayment(v, following(p.Interval, s.now()))
	}
	s.enqueue(domain, "subscription.create", v.event(d))
	data := v.render(d)
	data["customer"], data["plan"], data["authorization"] = c.ID, p.ID, a.ID
	return success("Subscription successfully created", data)
}

func subscriber(d *store, c *customer, code json.RawMessage) (*authorization, *answer) {
	if text(code) == "" {
		if a := d.newestAuthorization(c.Email); a != nil {
			return a, nil
		}
		bad := failure(http.StatusNotFound, "The customer specified has no saved authorizations", "not_found", "")
		return nil, &bad
	}
	a := d.byAuthCode[text(code)]
	if a == nil || a.Email != c.Email || !a.Active {
		bad := failure(http.StatusBadRequest, "Authorization specified is invalid or does not belong to customer", "invalid_params", "")
		return nil, &bad
	}
	return a, nil
}

func (s *Simulator) newSubscription(d *store, domain string, a *authorization, p *plan) *subscription {
	v := &subscription{
		ID: s.nextID(), Domain: domain, Code: "SUB_" + s.code(15), Token: s.code(15), Email: a.Email, PlanCode: p.Code, AuthCode: a.Code,
		Amount: p.Amount, Status: "active", Start: s.now(), InvoiceLimit: p.InvoiceLimit, CreatedAt: s.now(),
	}
	d.Subscriptions = append(d.Subscriptions, v)
	return v
}

// startSubscription follows a first payment that named a plan.
func (s *Simulator) startSubscription(t *transaction, a *authorization) {
	d := s.state.domain(t.Domain)
	p := d.plan(t.PlanCode)
	if p == nil {
		return
	}
	v := s.newSubscription(d, t.Domain, a, p)
	v.Paid = 1
	s.nextPayment(v, following(p.Interval, s.now()))
	s.enqueue(t.Domain, "subscription.create", v.event(d))
}

func (s *Simulator) listSubscriptions(d *store, _ string, r *http.Request) answer {
	q := r.URL.Query()
	var found []*subscription
	for _, v := range slices.Backward(d.Subscriptions) {
		if numeric(q.Get("customer"), d.Customers[v.Email].ID) && numeric(q.Get("plan"), d.plan(v.PlanCode).ID) && within(v.CreatedAt, q) {
			found = append(found, v)
		}
	}
	return listed("Subscriptions retrieved", found, q, func(v *subscription) any { return v.render(d) })
}

func (d *store) subscription(idOrCode string) *subscription {
	for _, v := range d.Subscriptions {
		if v.Code == idOrCode || strconv.FormatInt(v.ID, 10) == idOrCode {
			return v
		}
	}
	return nil
}

func subscriptionNotFound() answer {
	return failure(http.StatusNotFound, "Subscription with code not found or already inactive", "not_found", "")
}

func (s *Simulator) fetchSubscription(d *store, _ string, r *http.Request) answer {
	v := d.subscription(r.PathValue("code"))
	if v == nil {
		return subscriptionNotFound()
	}
	data := v.render(d)
	data["invoices"], data["most_recent_invoice"] = []any{}, nil
	if v.Last != nil {
		data["most_recent_invoice"] = v.Last.brief()
	}
	return success("Subscription retrieved successfully", data)
}

// named finds by code and token, as enable and disable want both.
func (d *store) named(r *http.Request) *subscription {
	in, _ := fields(r)
	v := d.subscription(text(in["code"]))
	if v == nil || v.Token != text(in["token"]) {
		return nil
	}
	return v
}

func (s *Simulator) disableSubscription(d *store, domain string, r *http.Request) answer {
	v := d.named(r)
	if v == nil || !v.live() {
		return subscriptionNotFound()
	}
	v.Status = "non-renewing"
	event := v.event(d)
	event["next_payment_date"], event["invoices"], event["invoices_history"] = nil, []any{}, []any{}
	event["invoice_limit"], event["split_code"], event["most_recent_invoice"] = v.InvoiceLimit, nil, nil
	s.enqueue(domain, "subscription.not_renew", event)
	return success("Subscription disabled successfully", map[string]any{"status": v.Status})
}

func (s *Simulator) enableSubscription(d *store, _ string, r *http.Request) answer {
	v := d.named(r)
	switch {
	case v == nil:
		return subscriptionNotFound()
	case v.Status == "cancelled" || v.Status == "completed":
		return failure(http.StatusBadRequest, "Subscription has been cancelled, and cannot be reactivated", "invalid_params", "")
	}
	v.Status = "active"
	return success("Subscription enabled successfully", nil)
}

func (s *Simulator) subscriptionLink(d *store, _ string, r *http.Request) answer {
	v := d.subscription(r.PathValue("code"))
	if v == nil {
		return subscriptionNotFound()
	}
	return success("Link generated", map[string]any{"link": s.publicURL(r) + "/manage/subscriptions/" + v.Code})
}

func (s *Simulator) subscriptionEmail(d *store, _ string, r *http.Request) answer {
	if d.subscription(r.PathValue("code")) == nil {
		return subscriptionNotFound()
	}
	return success("Email successfully sent", nil)
}
