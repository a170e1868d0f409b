package simulator

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// minimum amounts in subunits; a currency that isn't here isn't enabled.
func minimum(currency string) (int64, bool) {
	least, ok := map[string]int64{"NGN": 5000, "GHS": 10, "ZAR": 100, "KES": 300, "USD": 200, "XOF": 100}[currency]
	return least, ok
}

const maxAmount = 10_000_000 * 100

func (s *Simulator) initialize(d *store, domain string, r *http.Request) answer {
	in, ok := fields(r)
	if !ok {
		return failure(http.StatusBadRequest, "Invalid request body", "invalid_params", "Send a JSON object")
	}
	p, bad := planOf(d, in["plan"])
	if bad != nil {
		return *bad
	}
	if p != nil { // it overrides what else was said
		in["amount"], in["currency"] = encode(p.Amount), encode(p.Currency)
	}
	t, bad := s.newTransaction(d, domain, in)
	if bad != nil {
		return *bad
	}
	t.Label, t.CallbackURL, t.CancelURL = text(in["label"]), text(in["callback_url"]), cancelAction(t.Metadata)
	if p != nil {
		t.PlanCode = p.Code
	}
	s.open(d, t)
	return success("Authorization URL created", map[string]any{
		"authorization_url": s.publicURL(r) + "/checkout/" + t.AccessCode, "access_code": t.AccessCode, "reference": t.Reference,
	})
}

// newTransaction refuses what Paystack refuses; nothing is made yet.
func (s *Simulator) newTransaction(d *store, domain string, in map[string]json.RawMessage) (*transaction, *answer) {
	t := &transaction{
		Domain: domain, Status: "abandoned", CreatedAt: s.now(), Email: text(in["email"]), Currency: cmp.Or(text(in["currency"]), "NGN"),
		Reference: text(in["reference"]), GatewayResponse: "The transaction was not completed", Metadata: metadata(in["metadata"]),
	}
	if bad := checkTransaction(t, in["amount"]); bad != nil {
		return nil, bad
	}
	if t.Reference == "" {
		t.Reference = s.code(10)
	}
	if d.byReference[t.Reference] != nil {
		a := failure(http.StatusBadRequest, "Duplicate Transaction Reference", "duplicate_reference",
			"Try and create the Transaction or Charge with a new reference")
		return nil, &a
	}
	return t, nil
}

// open gives a checked transaction its ids and a place.
func (s *Simulator) open(d *store, t *transaction) {
	t.ID, t.AccessCode = s.nextID(), s.code(15)
	s.customerOf(d, t.Email)
	d.add(t)
}

// referencePattern has "_" too: undocumented, and seen accepted.
var referencePattern = regexp.MustCompile(`^[A-Za-z0-9._=-]*$`)

// checkTransaction also sets the amount.
func checkTransaction(t *transaction, amount json.RawMessage) *answer {
	refuse := func(message, code string) *answer {
		a := failure(http.StatusBadRequest, message, code, "Provide all required params")
		return &a
	}
	if t.Email == "" {
		return refuse("Email is not allowed to be empty", "invalid_params")
	}
	parsed, err := mail.ParseAddress(t.Email)
	if err != nil || parsed.Address != t.Email || strings.HasSuffix(strings.ToLower(t.Email), ".local") {
		return refuse("Invalid Email Address Passed", "invalid_email_address")
	}
	value, err := strconv.ParseInt(text(amount), 10, 64)
	if err != nil {
		return refuse("Invalid Amount Sent", "invalid_params")
	}
	least, enabled := minimum(t.Currency)
	if !enabled {
		return refuse("Currency not supported by merchant", "unsupported_currency")
	}
	if value < least || value > maxAmount {
		return refuse("You must specify a valid amount", "invalid_params")
	}
	if !referencePattern.MatchString(t.Reference) {
		return refuse("Invalid character in transaction reference", "invalid_params")
	}
	t.Amount, t.Requested = value, value
	return nil
}

// text takes strings and numbers as they are written.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// metadata has Paystack's trap: numbers survive in a stringified object and turn into strings in a plain one.
func metadata(raw json.RawMessage) json.RawMessage {
	var stringified string
	if json.Unmarshal(raw, &stringified) == nil {
		var object map[string]any
		if json.Unmarshal([]byte(stringified), &object) != nil {
			return nil
		}
		return json.RawMessage(stringified)
	}
	var object map[string]any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if d.Decode(&object) != nil || len(object) == 0 {
		return nil
	}
	return encode(numbersToStrings(object))
}

func numbersToStrings(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			v[key] = numbersToStrings(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = numbersToStrings(inner)
		}
	case json.Number:
		return v.String()
	}
	return v
}

func cancelAction(metadata json.RawMessage) string {
	var m struct {
		CancelAction string `json:"cancel_action"`
	}
	_ = json.Unmarshal(metadata, &m) // another shape has none
	return m.CancelAction
}

func (s *Simulator) publicURL(r *http.Request) string {
	if s.opts.PublicURL != "" {
		return s.opts.PublicURL
	}
	return (&url.URL{Scheme: "http", Host: r.Host}).String()
}

func (s *Simulator) verify(d *store, _ string, r *http.Request) answer {
	t := d.byReference[r.PathValue("reference")]
	if t == nil {
		return failure(http.StatusBadRequest, "Transaction reference not found.", "transaction_not_found",
			"Ensure that you're passing the reference of a transaction that exists on this integration")
	}
	return success("Verification successful", s.render(d, t, s.takeLocked(LooseTypes, "verify") != nil))
}

func (s *Simulator) verifyNothing(*store, string, *http.Request) answer {
	return failure(http.StatusBadRequest, "Transaction ID should be numeric.", "invalid_params", "")
}

func (s *Simulator) fetch(d *store, _ string, r *http.Request) answer {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return failure(http.StatusBadRequest, "Transaction ID should be numeric.", "invalid_params", "")
	}
	t, ok := byID(d.Transactions, id)
	if !ok {
		return failure(http.StatusNotFound, "Transaction not found", "transaction_not_found", "")
	}
	return success("Transaction retrieved", s.render(d, t, s.takeLocked(LooseTypes, "fetch") != nil))
}
