package simulator

import (
	"encoding/json"
	"strconv"
	"time"
)

// object is a transaction as the API shows it; fields that come in several forms are any.
type object struct {
	ID                 any             `json:"id"`
	Domain             string          `json:"domain"`
	Status             string          `json:"status"`
	Reference          string          `json:"reference"`
	ReceiptNumber      any             `json:"receipt_number"`
	Amount             any             `json:"amount"`
	Message            any             `json:"message"`
	GatewayResponse    string          `json:"gateway_response"`
	PaidAt             *string         `json:"paid_at"`
	CreatedAt          string          `json:"created_at"`
	Channel            any             `json:"channel"`
	Currency           string          `json:"currency"`
	IPAddress          any             `json:"ip_address"`
	Metadata           any             `json:"metadata"`
	Log                any             `json:"log"`
	Fees               any             `json:"fees"`
	FeesSplit          any             `json:"fees_split"`
	Authorization      any             `json:"authorization"`
	Customer           customerObject  `json:"customer"`
	Plan               any             `json:"plan"`
	Split              any             `json:"split"`
	OrderID            any             `json:"order_id"`
	PaidAtCamel        *string         `json:"paidAt"`
	CreatedAtCamel     string          `json:"createdAt"`
	RequestedAmount    any             `json:"requested_amount"`
	POSTransactionData any             `json:"pos_transaction_data"`
	Source             any             `json:"source"`
	FeesBreakdown      any             `json:"fees_breakdown"`
	Connect            any             `json:"connect"`
	TransactionDate    string          `json:"transaction_date"`
	PlanObject         json.RawMessage `json:"plan_object"`
	Subaccount         json.RawMessage `json:"subaccount"`
}

type customerObject struct {
	ID            int64  `json:"id"`
	FirstName     any    `json:"first_name"`
	LastName      any    `json:"last_name"`
	Email         string `json:"email"`
	CustomerCode  string `json:"customer_code"`
	Phone         any    `json:"phone"`
	Metadata      any    `json:"metadata"`
	RiskAction    string `json:"risk_action"`
	International any    `json:"international_format_phone"`
}

type authorizationObject struct {
	AuthorizationCode string `json:"authorization_code"`
	Bin               string `json:"bin"`
	Last4             string `json:"last4"`
	ExpMonth          string `json:"exp_month"`
	ExpYear           string `json:"exp_year"`
	Channel           string `json:"channel"`
	CardType          string `json:"card_type"`
	Bank              string `json:"bank"`
	CountryCode       string `json:"country_code"`
	Brand             string `json:"brand"`
	Reusable          any    `json:"reusable"`
	Signature         string `json:"signature"`
	AccountName       any    `json:"account_name"`
}

func empty() json.RawMessage { return json.RawMessage("{}") }

// render shows a transaction; loose is Paystack on a bad day: numbers as strings, nothing in every form there is.
func (s *Simulator) render(d *store, t *transaction, loose bool) object {
	c := d.Customers[t.Email]
	o := object{
		ID: t.ID, Domain: t.Domain, Status: t.Status, Reference: t.Reference, Amount: t.Amount, Message: orNull(t.Message),
		GatewayResponse: t.GatewayResponse, PaidAt: stamp(t.PaidAt), PaidAtCamel: stamp(t.PaidAt), CreatedAt: *stamp(&t.CreatedAt),
		CreatedAtCamel: *stamp(&t.CreatedAt), TransactionDate: *stamp(&t.CreatedAt), Channel: orNull(t.Channel), Currency: t.Currency,
		IPAddress: nil, Metadata: "", Log: t.log(), Fees: t.Fees, Authorization: t.authorization(),
		Customer: c.render(),
		Split:    empty(), RequestedAmount: t.Requested, PlanObject: empty(), Subaccount: empty(),
	}
	if t.Metadata != nil {
		o.Metadata = t.Metadata
	}
	if p := d.plan(t.PlanCode); p != nil {
		o.Plan, o.PlanObject = p.Code, encode(p.brief())
	}
	if loose {
		o.ID, o.Amount, o.RequestedAmount = strconv.FormatInt(t.ID, 10), strconv.FormatInt(t.Amount, 10), strconv.FormatInt(t.Requested, 10)
		o.Metadata, o.Plan, o.Log, o.Fees, o.Split, o.PaidAt = 0, 0, []any{}, "", []any{}, nil
		if t.Status != "success" {
			o.Authorization = []any{}
		}
	}
	return o
}

// eventData is a transaction as events carry it: much the same, with forms of its own.
func (s *Simulator) eventData(t *transaction) any {
	o := s.render(s.state.domain(t.Domain), t, s.takeLocked(LooseTypes, "webhook") != nil)
	o.Log, o.GatewayResponse = nil, "Approved"
	o.Plan = o.PlanObject
	o.Source = map[string]any{"type": "api", "source": "merchant_api", "entry_point": "transaction_initialize", "identifier": nil}
	return o
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func stamp(at *time.Time) *string {
	if at == nil {
		return nil
	}
	text := at.UTC().Format("2006-01-02T15:04:05.000Z")
	return &text
}

func (t *transaction) log() any {
	if t.Attempts == 0 {
		return nil
	}
	history := t.History
	if history == nil {
		history = []historyEntry{}
	}
	return map[string]any{
		"start_time": t.CreatedAt.Unix(), "time_spent": history[len(history)-1].Time, "attempts": t.Attempts, "errors": t.Errors,
		"success": t.PaidAt != nil, "mobile": false, "input": []any{}, "history": history,
	}
}

func (t *transaction) authorization() any {
	c, ok := findCard(t.Card)
	if t.AuthCode == "" || !ok {
		return empty()
	}
	return authorizationOf(t.AuthCode, c)
}

func authorizationOf(code string, c card) authorizationObject {
	return authorizationObject{
		AuthorizationCode: code, Bin: c.Number[:6], Last4: c.Number[len(c.Number)-4:], ExpMonth: "12", ExpYear: "2030", Channel: "card",
		CardType: c.Brand + " ", Bank: "TEST BANK", CountryCode: "NG", Brand: c.Brand, Reusable: c.Reusable,
		Signature: "SIG_" + cardSignature(c.Number),
	}
}
