package simulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The statuses of a dispute; whose turn it is.
const (
	awaitingMerchant = "awaiting-merchant-feedback"
	awaitingBank     = "awaiting-bank-feedback"
	resolved         = "resolved"
)

type dispute struct {
	ID            int64             `json:"id"`
	Domain        string            `json:"domain"`
	TransactionID int64             `json:"transaction_id"`
	Amount        int64             `json:"amount"` // that the bank wants back
	Category      string            `json:"category"`
	Status        string            `json:"status"`
	Resolution    string            `json:"resolution,omitempty"`
	Upload        string            `json:"upload,omitempty"`
	Evidence      map[string]string `json:"evidence,omitempty"`
	Message       string            `json:"message,omitempty"`
	History       []disputeEntry    `json:"history"`
	DueAt         time.Time         `json:"due_at"`
	ResolvedAt    *time.Time        `json:"resolved_at,omitempty"`
	CreatedAt     time.Time         `json:"created_at"`
	UpdatedAt     time.Time         `json:"updated_at"`
}

type disputeEntry struct {
	Status string    `json:"status"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
}

func (v *dispute) identity() int64 { return v.ID }

func (s *Simulator) listDisputes(d *store, _ string, r *http.Request) answer {
	q := r.URL.Query()
	var found []*dispute
	for _, v := range slices.Backward(d.Disputes) {
		if numeric(q.Get("transaction"), v.TransactionID) && (q.Get("status") == "" || q.Get("status") == v.Status) && within(v.CreatedAt, q) {
			found = append(found, v)
		}
	}
	perPage := positive(q.Get("perPage"), defaultPerPage)
	loose := s.takeLocked(LooseTypes, "disputes") != nil
	render := func(v *dispute) any { return s.renderDispute(d, v, loose) }
	if q.Get("use_cursor") != "true" {
		return listed("Disputes retrieved", found, q, render)
	}
	if after, err := strconv.ParseInt(q.Get("next"), 36, 64); err == nil {
		found = slices.DeleteFunc(found, func(v *dispute) bool { return v.ID >= after })
	}
	meta := map[string]any{"next": nil, "previous": nil, "perPage": perPage}
	if len(found) > perPage {
		found = found[:perPage]
		meta["next"] = strconv.FormatInt(found[perPage-1].ID, 36)
	}
	data := make([]any, 0, len(found))
	for _, v := range found {
		data = append(data, render(v))
	}
	a := success("Disputes retrieved", data)
	a.meta = meta
	return a
}

func (d *store) disputeOf(r *http.Request) (*dispute, *answer) {
	return named(r, d.Disputes, "Dispute")
}

func (s *Simulator) fetchDispute(d *store, _ string, r *http.Request) answer {
	v, bad := d.disputeOf(r)
	if bad != nil {
		return *bad
	}
	return success("Dispute retrieved", s.renderDispute(d, v, s.takeLocked(LooseTypes, "dispute_fetch") != nil))
}

func (s *Simulator) disputeOfTransaction(d *store, _ string, r *http.Request) answer {
	id, _ := strconv.ParseInt(r.PathValue("id"), 10, 64) // another text finds nothing
	for _, v := range slices.Backward(d.Disputes) {
		if v.TransactionID == id {
			return success("Dispute retrieved successfully", s.renderDispute(d, v, false))
		}
	}
	return failure(http.StatusNotFound, "Dispute not found", "not_found", "")
}

// updateDispute answers with a list of one, as the sample does.
func (s *Simulator) updateDispute(d *store, _ string, r *http.Request) answer {
	v, bad := d.disputeOf(r)
	if bad != nil {
		return *bad
	}
	in, _ := fields(r)
	amount, bad := d.refundAmount(v, in)
	if bad != nil {
		return *bad
	}
	v.Amount, v.Upload, v.UpdatedAt = amount, text(in["uploaded_filename"]), s.now()
	return success("Dispute updated successfully", []any{s.renderDispute(d, v, false)})
}

func (d *store) refundAmount(v *dispute, in map[string]json.RawMessage) (int64, *answer) {
	t, _ := byID(d.Transactions, v.TransactionID)
	amount, err := strconv.ParseInt(text(in["refund_amount"]), 10, 64)
	if err != nil || amount < 0 || amount > t.Amount {
		a := failure(http.StatusBadRequest, "Invalid refund amount", "invalid_params", "")
		return 0, &a
	}
	return amount, nil
}

func (s *Simulator) addEvidence(d *store, _ string, r *http.Request) answer {
	v, bad := d.disputeOf(r)
	if bad != nil {
		return *bad
	}
	in, _ := fields(r)
	v.Evidence = map[string]string{}
	for _, name := range []string{"customer_email", "customer_name", "customer_phone", "service_details"} {
		if v.Evidence[name] = text(in[name]); v.Evidence[name] == "" {
			return failure(http.StatusBadRequest, name+" is required", "missing_params", "")
		}
	}
	for _, name := range []string{"delivery_address", "delivery_date"} {
		v.Evidence[name] = text(in[name])
	}
	v.UpdatedAt = s.now()
	data := map[string]any{"dispute": v.ID, "id": s.nextID(), "createdAt": stamp(&v.UpdatedAt), "updatedAt": stamp(&v.UpdatedAt)}
	for name, value := range v.Evidence {
		data[name] = value
	}
	return success("Evidence created", data)
}

func (s *Simulator) disputeUpload(d *store, _ string, r *http.Request) answer {
	v, bad := d.disputeOf(r)
	if bad != nil {
		return *bad
	}
	name := r.URL.Query().Get("upload_filename")
	if name == "" {
		return failure(http.StatusBadRequest, "upload_filename is required", "missing_params", "")
	}
	v.Upload = s.code(20) + "_" + name
	return success("Upload url generated", map[string]any{"signedUrl": s.publicURL(r) + "/upload/" + v.Upload, "fileName": v.Upload})
}

// resolveDispute accepts the bank's demand, or declines it, upon which the bank decides.
func (s *Simulator) resolveDispute(d *store, _ string, r *http.Request) answer {
	v, bad := d.disputeOf(r)
	if bad != nil {
		return *bad
	}
	in, _ := fields(r)
	amount, bad := d.refundAmount(v, in)
	switch resolution := text(in["resolution"]); {
	case bad != nil:
		return *bad
	case v.Status != awaitingMerchant:
		return failure(http.StatusBadRequest, "Dispute can no longer be resolved", "invalid_params", "")
	case text(in["message"]) == "":
		return failure(http.StatusBadRequest, "message is required", "missing_params", "")
	case resolution == "merchant-accepted":
		v.Message, v.Amount = text(in["message"]), amount
		s.closeDispute(d, v, resolution, true)
	case resolution == "declined":
		v.Message = text(in["message"])
		v.Status, v.UpdatedAt = awaitingBank, s.now()
		v.History = append(v.History, disputeEntry{Status: awaitingBank, By: "merchant@example.com", At: v.UpdatedAt})
	default:
		return failure(http.StatusBadRequest, "Invalid resolution", "invalid_params", "")
	}
	return success("Dispute successfully resolved", s.renderDispute(d, v, false))
}

// renderDispute has both spellings of its times; the transaction_reference is null, as the real one's.
func (s *Simulator) renderDispute(d *store, v *dispute, loose bool) map[string]any {
	t, _ := byID(d.Transactions, v.TransactionID)
	transaction := s.render(d, t, loose)
	transaction.Authorization = empty()
	history := make([]any, 0, len(v.History))
	for _, h := range v.History {
		history = append(history, map[string]any{"status": h.Status, "by": h.By, "createdAt": stamp(&h.At)})
	}
	c, _ := findCard(t.Card)
	data := map[string]any{
		"id": v.ID, "refund_amount": v.Amount, "currency": t.Currency, "status": v.Status, "resolution": orNull(v.Resolution), "domain": v.Domain,
		"transaction": transaction, "transaction_reference": nil, "category": v.Category, "customer": d.Customers[t.Email].render(),
		"bin": c.Number[:6], "last4": c.Number[len(c.Number)-4:], "dueAt": stamp(&v.DueAt), "resolvedAt": stamp(v.ResolvedAt), "evidence": nil,
		"attachments": orNull(v.Upload), "note": nil, "history": history,
		"messages":  []any{map[string]any{"sender": "bank@example.com", "body": "The customer disputes this charge", "createdAt": stamp(&v.CreatedAt)}},
		"createdAt": stamp(&v.CreatedAt), "updatedAt": stamp(&v.UpdatedAt),
	}
	if loose {
		data["id"], data["refund_amount"], data["domain"] = strconv.FormatInt(v.ID, 10), strconv.FormatInt(v.Amount, 10), ""
	}
	return data
}
