package paystack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"controlplane/internal/billing"
)

type chargeBody struct {
	Email             string `json:"email"`
	Amount            int64  `json:"amount"`
	Currency          string `json:"currency"`
	Reference         string `json:"reference"`
	AuthorizationCode string `json:"authorization_code"`
	Metadata          string `json:"metadata"` // stringified, so that numbers survive
}

// ChargeAuthorization charges a saved card under r.Reference. It is sent once; only a 429 is sent again.
func (c *Client) ChargeAuthorization(ctx context.Context, r billing.ChargeRequest) (billing.Transaction, error) {
	metadata, err := encodeMetadata(r.Metadata)
	if err != nil {
		return billing.Transaction{}, fmt.Errorf("encode the metadata: %w", err)
	}
	data, err := c.post(ctx, "/transaction/charge_authorization", chargeBody{
		Email: r.Email, Amount: r.AmountKobo, Currency: r.Currency, Reference: r.Reference, AuthorizationCode: r.AuthorizationCode.Reveal(),
		Metadata: metadata,
	})
	if err != nil {
		return billing.Transaction{}, fmt.Errorf("charge the authorization: %w", err)
	}
	return c.readCharge(data, r)
}

// readCharge also reads the answer that has no transaction: the bank wants the customer to approve first.
func (c *Client) readCharge(data json.RawMessage, r billing.ChargeRequest) (billing.Transaction, error) {
	var answer struct {
		transaction
		Paused           looseBool   `json:"paused"`
		AuthorizationURL looseString `json:"authorization_url"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return billing.Transaction{}, errors.New("charge the authorization: paystack: the answer's data can't be read")
	}
	if string(answer.Reference) != r.Reference {
		return billing.Transaction{}, errors.New("charge the authorization: paystack: the answer is about another reference")
	}
	t := answer.billing()
	if !answer.Paused {
		return t, nil
	}
	if err := c.checkCheckoutURL(string(answer.AuthorizationURL)); err != nil {
		return billing.Transaction{}, fmt.Errorf("charge the authorization: %w", err)
	}
	t.ChallengeURL, t.Status = string(answer.AuthorizationURL), billing.GatewayOngoing
	return t, nil
}
