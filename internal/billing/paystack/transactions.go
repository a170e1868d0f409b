package paystack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"controlplane/internal/billing"
	"controlplane/internal/secrets"
)

type initializeBody struct {
	Email       string `json:"email"`
	Amount      int64  `json:"amount"`
	Currency    string `json:"currency"`
	Reference   string `json:"reference"`
	CallbackURL string `json:"callback_url,omitempty"`
	Metadata    string `json:"metadata"` // stringified, so that numbers survive
}

type metadataBody struct {
	UserID       int64         `json:"user_id"`
	ClientID     int64         `json:"client_id"`
	ClientName   string        `json:"client_name"`
	Plan         string        `json:"plan"`
	BillingCycle string        `json:"billing_cycle"`
	CustomFields []customField `json:"custom_fields"`
}

type customField struct {
	DisplayName  string `json:"display_name"`
	VariableName string `json:"variable_name"`
	Value        string `json:"value"`
}

func encodeMetadata(m billing.Metadata) (string, error) {
	text, err := json.Marshal(metadataBody{
		UserID: int64(m.AccountID), ClientID: int64(m.TenantID), ClientName: m.TenantName, Plan: m.PlanID, BillingCycle: string(m.BillingCycle),
		CustomFields: []customField{
			{DisplayName: "Plan", VariableName: "plan", Value: m.PlanID},
			{DisplayName: "Billing Cycle", VariableName: "billing_cycle", Value: string(m.BillingCycle)},
			{DisplayName: "Client", VariableName: "client_name", Value: m.TenantName},
		},
	})
	return string(text), err
}

// Initialize opens a transaction under r.Reference. It is sent once; only a 429 is sent again.
func (c *Client) Initialize(ctx context.Context, r billing.InitializeRequest) (billing.Checkout, error) {
	metadata, err := encodeMetadata(r.Metadata)
	if err != nil {
		return billing.Checkout{}, fmt.Errorf("encode the metadata: %w", err)
	}
	data, err := c.post(ctx, "/transaction/initialize", initializeBody{
		Email: r.Email, Amount: r.AmountKobo, Currency: r.Currency, Reference: r.Reference, CallbackURL: r.CallbackURL, Metadata: metadata,
	})
	if err != nil {
		return billing.Checkout{}, fmt.Errorf("initialize: %w", err)
	}
	var answer struct {
		AuthorizationURL looseString `json:"authorization_url"`
		AccessCode       looseString `json:"access_code"`
		Reference        looseString `json:"reference"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return billing.Checkout{}, errors.New("initialize: paystack: the answer's data can't be read")
	}
	if string(answer.Reference) != r.Reference {
		return billing.Checkout{}, errors.New("initialize: paystack: the answer is about another reference")
	}
	if err := c.checkCheckoutURL(string(answer.AuthorizationURL)); err != nil {
		return billing.Checkout{}, err
	}
	return billing.Checkout{
		AuthorizationURL: string(answer.AuthorizationURL), AccessCode: string(answer.AccessCode), Reference: r.Reference,
	}, nil
}

// checkCheckoutURL keeps anything but a web address from reaching a browser; plain http is for a local simulator.
func (c *Client) checkCheckoutURL(text string) error {
	u, err := url.Parse(text)
	local := err == nil && u.Scheme == "http" && isLocalBase(c.base)
	if err != nil || u.Host == "" || len(text) > 2048 || u.Scheme != "https" && !local {
		return errors.New("initialize: paystack: the answer holds no usable checkout address")
	}
	return nil
}

func isLocalBase(base string) bool {
	u, err := url.Parse(base)
	return err == nil && u.Scheme == "http"
}

// Verify returns a transaction by our reference.
func (c *Client) Verify(ctx context.Context, reference string) (billing.Transaction, error) {
	if reference == "" || reference == "." || reference == ".." {
		return billing.Transaction{}, billing.ErrTransactionNotFound
	}
	data, err := c.get(ctx, "/transaction/verify/"+url.PathEscape(reference))
	if err != nil {
		return billing.Transaction{}, fmt.Errorf("verify: %w", err)
	}
	var t transaction
	if err := json.Unmarshal(data, &t); err != nil {
		return billing.Transaction{}, fmt.Errorf("verify: paystack: read the transaction: %w", err)
	}
	if t.Reference == "" {
		return billing.Transaction{}, errors.New("verify: paystack: the answer holds no transaction")
	}
	return t.billing(), nil
}

// transaction is the part of Paystack's object that we use; everything else may look as it likes.
type transaction struct {
	ID              looseInt    `json:"id"`
	Domain          looseString `json:"domain"`
	Status          looseString `json:"status"`
	Reference       looseString `json:"reference"`
	Amount          looseInt    `json:"amount"`
	RequestedAmount looseInt    `json:"requested_amount"`
	Fees            looseInt    `json:"fees"`
	Currency        looseString `json:"currency"`
	Channel         looseString `json:"channel"`
	GatewayResponse looseString `json:"gateway_response"`
	PaidAt          looseTime   `json:"paid_at"`
	PaidAtCamel     looseTime   `json:"paidAt"`
	CreatedAt       looseTime   `json:"created_at"`
	CreatedAtCamel  looseTime   `json:"createdAt"`
	Authorization   looseObject `json:"authorization"`
	Customer        looseObject `json:"customer"`
}

func (t transaction) billing() billing.Transaction {
	out := billing.Transaction{
		ID: t.ID.value, Reference: string(t.Reference), Mode: string(t.Domain), Status: billing.GatewayStatus(t.Status),
		AmountKobo: t.Amount.value, RequestedKobo: t.RequestedAmount.value, Currency: string(t.Currency), Channel: string(t.Channel),
		GatewayResponse: string(t.GatewayResponse), PaidAt: t.PaidAt.orElse(t.PaidAtCamel),
		CreatedAt: t.CreatedAt.orElse(t.CreatedAtCamel), Authorization: authorizationOf(t),
	}
	if t.Fees.set {
		out.FeesKobo = &t.Fees.value
	}
	return out
}

// authorizationOf takes the e-mail from the customer, whose identity at Paystack it is.
func authorizationOf(t transaction) billing.Authorization {
	a := t.Authorization
	code := a.text("authorization_code")
	if code == "" {
		return billing.Authorization{}
	}
	return billing.Authorization{
		Code: secrets.Secret(code), Reusable: a.yes("reusable"), Email: t.Customer.text("email"), Signature: a.text("signature"),
		Last4: a.text("last4"), Brand: strings.TrimSpace(cmp.Or(a.text("brand"), a.text("card_type"))), ExpMonth: a.text("exp_month"),
		ExpYear: a.text("exp_year"), Bank: a.text("bank"),
	}
}
