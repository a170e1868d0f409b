package simulator

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"time"
)

const integration = 100043 // of the only merchant

// customer is known by an e-mail: two accounts of a shop that share one share the customer.
type customer struct {
	ID         int64           `json:"id"`
	Code       string          `json:"code"`
	Email      string          `json:"email"`
	FirstName  string          `json:"first_name,omitempty"`
	LastName   string          `json:"last_name,omitempty"`
	Phone      string          `json:"phone,omitempty"`
	Metadata   json.RawMessage `json:"metadata,omitempty"`
	RiskAction string          `json:"risk_action,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

// customerOf makes the customer when it is first named.
func (s *Simulator) customerOf(d *store, email string) *customer {
	c := d.Customers[email]
	if c == nil {
		c = &customer{ID: s.nextID(), Code: "CUS_" + s.code(15), Email: email, CreatedAt: s.now(), UpdatedAt: s.now()}
		d.Customers[email] = c
	}
	return c
}

// customer finds by e-mail or code; Paystack takes both.
func (d *store) customer(emailOrCode string) *customer {
	if c := d.Customers[emailOrCode]; c != nil {
		return c
	}
	for _, c := range d.Customers {
		if c.Code == emailOrCode {
			return c
		}
	}
	return nil
}

func (c *customer) render() customerObject {
	o := customerObject{
		ID: c.ID, FirstName: orNull(c.FirstName), LastName: orNull(c.LastName), Email: c.Email, CustomerCode: c.Code, Phone: orNull(c.Phone),
		RiskAction: cmp.Or(c.RiskAction, "default"),
	}
	if c.Metadata != nil {
		o.Metadata = c.Metadata
	}
	return o
}

func (c *customer) full(domain string) map[string]any {
	o := c.render()
	return map[string]any{
		"id": o.ID, "customer_code": o.CustomerCode, "email": o.Email, "first_name": o.FirstName, "last_name": o.LastName, "phone": o.Phone,
		"metadata": o.Metadata, "risk_action": o.RiskAction, "integration": integration, "domain": domain, "identified": false,
		"identifications": nil, "createdAt": stamp(&c.CreatedAt), "updatedAt": stamp(&c.UpdatedAt),
	}
}

// change takes what is said; the metadata must be an object here, where a transaction's may be text.
func (c *customer) change(in map[string]json.RawMessage) *answer {
	if raw, ok := in["metadata"]; ok && string(raw) != "null" {
		var object map[string]json.RawMessage
		if json.Unmarshal(raw, &object) != nil {
			a := failure(http.StatusBadRequest, "metadata must be an object", "invalid_params", "")
			return &a
		}
		c.Metadata = raw
	}
	for name, field := range map[string]*string{"first_name": &c.FirstName, "last_name": &c.LastName, "phone": &c.Phone} {
		if raw, ok := in[name]; ok {
			*field = text(raw)
		}
	}
	return nil
}

func validEmail(email string) bool {
	parsed, err := mail.ParseAddress(email)
	return err == nil && parsed.Address == email
}

// createCustomer returns the customer that an e-mail has; whether Paystack does isn't documented.
func (s *Simulator) createCustomer(d *store, domain string, r *http.Request) answer {
	in, ok := fields(r)
	if !ok || !validEmail(text(in["email"])) {
		return failure(http.StatusBadRequest, "Invalid Email Address Passed", "invalid_email_address", "")
	}
	probe := customer{}
	if bad := probe.change(in); bad != nil {
		return *bad
	}
	c := s.customerOf(d, text(in["email"]))
	c.change(in) // was checked
	data := c.full(domain)
	data["transactions"], data["subscriptions"], data["authorizations"] = []any{}, []any{}, []any{}
	return success("Customer created", data)
}

func customerNotFound() answer {
	return failure(http.StatusNotFound, "Customer not found", "not_found", "")
}

func (s *Simulator) fetchCustomer(d *store, domain string, r *http.Request) answer {
	c := d.customer(r.PathValue("code"))
	if c == nil {
		return customerNotFound()
	}
	data := c.full(domain)
	var transactions, subscriptions, authorizations []any
	var total int64
	for _, t := range d.Transactions {
		if t.Email == c.Email && t.PaidAt != nil {
			transactions, total = append(transactions, s.render(d, t, false)), total+t.Amount
		}
	}
	for _, v := range d.Subscriptions {
		if v.Email == c.Email {
			subscriptions = append(subscriptions, v.render(d))
		}
	}
	for _, a := range d.Authorizations {
		if a.Email == c.Email && a.Active {
			authorizations = append(authorizations, a.render())
		}
	}
	data["transactions"], data["subscriptions"], data["authorizations"] = orNone(transactions), orNone(subscriptions), orNone(authorizations)
	data["total_transactions"], data["total_transaction_value"] = len(transactions), []any{map[string]any{"currency": "NGN", "amount": total}}
	return success("Customer retrieved", data)
}

func orNone(list []any) []any {
	if list == nil {
		return []any{}
	}
	return list
}

func (s *Simulator) updateCustomer(d *store, domain string, r *http.Request) answer {
	in, _ := fields(r)
	c := d.customer(r.PathValue("code"))
	if c == nil {
		return customerNotFound()
	}
	if bad := c.change(in); bad != nil {
		return *bad
	}
	c.UpdatedAt = s.now()
	return success("Customer updated", c.full(domain))
}

func (s *Simulator) setRiskAction(d *store, domain string, r *http.Request) answer {
	in, _ := fields(r)
	c := d.customer(text(in["customer"]))
	if c == nil {
		return customerNotFound()
	}
	action := cmp.Or(text(in["risk_action"]), "default")
	if !slices.Contains([]string{"default", "allow", "deny"}, action) {
		return failure(http.StatusBadRequest, "Invalid risk action", "invalid_params", "")
	}
	c.RiskAction = action
	return success("Customer updated", c.full(domain))
}

func (s *Simulator) listCustomers(d *store, domain string, r *http.Request) answer {
	q := r.URL.Query()
	var found []*customer
	for _, c := range d.Customers {
		if within(c.CreatedAt, q) {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *customer) int { return cmp.Compare(b.ID, a.ID) })
	return listed("Customers retrieved", found, q, func(c *customer) any { return c.full(domain) })
}

// listed pages by number, as all lists but the long one of transactions do.
func listed[T any](message string, found []T, q url.Values, render func(T) any) answer {
	page, meta := pageOf(found, positive(q.Get("page"), 1), positive(q.Get("perPage"), defaultPerPage))
	a := success(message, nil)
	a.meta = meta
	data := make([]any, 0, len(page))
	for _, v := range page {
		data = append(data, render(v))
	}
	a.data = data
	return a
}

func pageOf[T any](found []T, page, perPage int) ([]T, map[string]any) {
	start := min((page-1)*perPage, len(found))
	return found[start:min(start+perPage, len(found))], map[string]any{
		"total": len(found), "skipped": start, "perPage": perPage, "page": page, "pageCount": (len(found) + perPage - 1) / perPage,
	}
}

// numeric is a filter that takes ids; a code finds nothing.
func numeric(wanted string, id int64) bool {
	return wanted == "" || wanted == strconv.FormatInt(id, 10)
}
