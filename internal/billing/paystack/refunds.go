package paystack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"controlplane/internal/billing"
)

type refundBody struct {
	Transaction  int64  `json:"transaction"`
	Amount       int64  `json:"amount"`
	Currency     string `json:"currency"`
	MerchantNote string `json:"merchant_note,omitempty"`
}

const (
	refundsPerPage = 50 // Paystack's default, for endpoints that don't read it
	maxRefundPages = 20
)

// Refund asks for a refund. It is sent once; only a 429 is sent again.
func (c *Client) Refund(ctx context.Context, r billing.RefundRequest) (billing.Refund, error) {
	data, err := c.post(ctx, "/refund", refundBody{
		Transaction: r.TransactionID, Amount: r.AmountKobo, Currency: r.Currency, MerchantNote: r.MerchantNote,
	})
	if err != nil {
		return billing.Refund{}, fmt.Errorf("refund: %w", err)
	}
	refund, err := readRefund(data)
	if err != nil {
		return billing.Refund{}, fmt.Errorf("refund: %w", err)
	}
	if refund.TransactionID != 0 && refund.TransactionID != r.TransactionID {
		return billing.Refund{}, errors.New("refund: paystack: the answer is about another transaction")
	}
	refund.TransactionID = r.TransactionID
	return refund, nil
}

// Refunds reads all pages, as a transaction has few; refunds of others, from a filter that wasn't heeded, are left out.
func (c *Client) Refunds(ctx context.Context, transactionID int64) ([]billing.Refund, error) {
	var out []billing.Refund
	seen := map[int64]bool{}
	for page := 1; page <= maxRefundPages; page++ {
		list, err := c.refundPage(ctx, url.Values{"transaction": {strconv.FormatInt(transactionID, 10)}}, page)
		if err != nil {
			return nil, fmt.Errorf("list refunds: %w", err)
		}
		fresh := slices.DeleteFunc(slices.Clone(list), func(r billing.Refund) bool { return seen[r.ID] })
		for _, r := range fresh {
			seen[r.ID] = true
			if r.TransactionID == 0 || r.TransactionID == transactionID {
				r.TransactionID = transactionID
				out = append(out, r)
			}
		}
		if len(list) < refundsPerPage || len(fresh) == 0 {
			return out, nil
		}
	}
	return nil, fmt.Errorf("list refunds: paystack: more than %d pages", maxRefundPages)
}

// RefundsBetween returns up to 50 refunds. The list tells no number of pages, so that a page which isn't full is the last, and so is one that
// begins as the one before did: then the page's number wasn't heeded.
func (c *Client) RefundsBetween(ctx context.Context, f billing.RefundFilter) (billing.RefundPage, error) {
	page, first := 1, int64(0)
	if f.Cursor != "" {
		if _, err := fmt.Sscanf(f.Cursor, "%d/%d", &page, &first); err != nil {
			return billing.RefundPage{}, fmt.Errorf("list refunds: no such cursor: %w", err)
		}
	}
	q := url.Values{}
	setTimes(q, f.From, f.To)
	list, err := c.refundPage(ctx, q, page)
	if err != nil {
		return billing.RefundPage{}, fmt.Errorf("list refunds: %w", err)
	}
	if len(list) > 0 && list[0].ID == first {
		return billing.RefundPage{}, nil
	}
	out := billing.RefundPage{Refunds: list}
	if len(list) >= refundsPerPage {
		out.Next = fmt.Sprintf("%d/%d", page+1, list[0].ID)
	}
	return out, nil
}

func (c *Client) refundPage(ctx context.Context, q url.Values, page int) ([]billing.Refund, error) {
	q.Set("perPage", strconv.Itoa(refundsPerPage))
	q.Set("page", strconv.Itoa(page))
	data, err := c.get(ctx, "/refund?"+q.Encode())
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, errors.New("paystack: the answer's data can't be read")
	}
	out := make([]billing.Refund, 0, len(list))
	for _, item := range list {
		r, err := readRefund(item)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// RefundByID returns one refund.
func (c *Client) RefundByID(ctx context.Context, id int64) (billing.Refund, error) {
	data, err := c.get(ctx, "/refund/"+strconv.FormatInt(id, 10))
	if isNotFound(err) {
		return billing.Refund{}, billing.ErrRefundNotFound
	}
	if err != nil {
		return billing.Refund{}, fmt.Errorf("fetch a refund: %w", err)
	}
	r, err := readRefund(data)
	if err != nil {
		return billing.Refund{}, fmt.Errorf("fetch a refund: %w", err)
	}
	if r.ID != id {
		return billing.Refund{}, errors.New("fetch a refund: paystack: the answer is about another one")
	}
	return r, nil
}

// readRefund reads the forms of create, list and fetch: the transaction is an object in one and a number in the others.
func readRefund(data json.RawMessage) (billing.Refund, error) {
	var o looseObject
	_ = o.UnmarshalJSON(data) // never fails
	transaction := o.transaction()
	r := billing.Refund{
		ID: o.number("id"), TransactionID: cmp.Or(o.number("transaction"), transaction.number("id")), Mode: o.text("domain"),
		Reference: cmp.Or(o.text("transaction_reference"), transaction.text("reference")), Status: billing.RefundStatus(o.text("status")),
		AmountKobo: o.number("amount"), Currency: o.text("currency"), MerchantNote: o.text("merchant_note"),
		CreatedAt: o.time("createdAt", "created_at"),
	}
	if r.ID == 0 || r.Status == "" {
		return billing.Refund{}, errors.New("paystack: the answer holds no refund")
	}
	return r, nil
}
