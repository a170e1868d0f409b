package paystack

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"controlplane/internal/billing"
)

// Disputes returns up to 100 disputes.
func (c *Client) Disputes(ctx context.Context, f billing.DisputeFilter) (billing.DisputePage, error) {
	q := pageQuery(f.Cursor)
	setTimes(q, f.From, f.To)
	setUnlessEmpty(q, "status", string(f.Status))
	if f.TransactionID != 0 {
		q.Set("transaction", strconv.FormatInt(f.TransactionID, 10))
	}
	data, meta, err := c.getPage(ctx, "/dispute?"+q.Encode())
	if err != nil {
		return billing.DisputePage{}, fmt.Errorf("list disputes: %w", err)
	}
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return billing.DisputePage{}, errors.New("list disputes: paystack: the answer's data can't be read")
	}
	page := billing.DisputePage{Disputes: make([]billing.Dispute, 0, len(list)), Next: meta.cursor()}
	for _, item := range list {
		d, err := readDispute(item)
		if err != nil {
			return billing.DisputePage{}, fmt.Errorf("list disputes: %w", err)
		}
		page.Disputes = append(page.Disputes, d)
	}
	if page.Next != "" && (page.Next == f.Cursor || len(list) == 0) {
		return billing.DisputePage{}, errors.New("list disputes: paystack: the pages don't end")
	}
	return page, nil
}

// Dispute returns one dispute.
func (c *Client) Dispute(ctx context.Context, id int64) (billing.Dispute, error) {
	data, err := c.get(ctx, "/dispute/"+strconv.FormatInt(id, 10))
	if isNotFound(err) {
		return billing.Dispute{}, billing.ErrDisputeNotFound
	}
	if err != nil {
		return billing.Dispute{}, fmt.Errorf("fetch a dispute: %w", err)
	}
	d, err := readDispute(data)
	if err != nil {
		return billing.Dispute{}, fmt.Errorf("fetch a dispute: %w", err)
	}
	if d.ID != id {
		return billing.Dispute{}, errors.New("fetch a dispute: paystack: the answer is about another one")
	}
	return d, nil
}

// readDispute takes the reference from the transaction: the dispute's own transaction_reference is null.
func readDispute(data json.RawMessage) (billing.Dispute, error) {
	var o looseObject
	_ = o.UnmarshalJSON(data) // never fails
	transaction := o.transaction()
	d := billing.Dispute{
		ID: o.number("id"), TransactionID: cmp.Or(o.number("transaction"), transaction.number("id")),
		Reference:         cmp.Or(transaction.text("reference"), o.text("transaction_reference")),
		TransactionStatus: billing.GatewayStatus(transaction.text("status")),
		Mode:              cmp.Or(o.text("domain"), transaction.text("domain")), Status: billing.DisputeStatus(o.text("status")),
		Resolution: o.text("resolution"), Category: o.text("category"), AmountKobo: o.number("refund_amount"),
		Currency: cmp.Or(o.text("currency"), transaction.text("currency")), DueAt: o.time("dueAt", "due_at"),
		ResolvedAt: o.time("resolvedAt", "resolved_at"), CreatedAt: o.time("createdAt", "created_at"),
	}
	if d.ID == 0 || d.Status == "" {
		return billing.Dispute{}, errors.New("paystack: the answer holds no dispute")
	}
	return d, nil
}
