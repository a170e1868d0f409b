package paystack

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"controlplane/internal/billing"
)

const maxName = 100 // of event names and references

// VerifySignature reports whether signature is the hex HMAC-SHA512 of these very bytes under one of our secret keys. All keys are
// tried, whichever fits, so that the time tells nothing.
func (c *Client) VerifySignature(body []byte, signature string) bool {
	given, err := hex.DecodeString(signature)
	if err != nil || len(given) != sha512.Size {
		return false
	}
	match := false
	for _, key := range c.keys {
		mac := hmac.New(sha512.New, []byte(key.Reveal()))
		mac.Write(body)
		match = hmac.Equal(mac.Sum(nil), given) || match
	}
	return match
}

// DecodeEvent reads the event's name, what it is about and a key by which repeats are known. Data of any shape is accepted; only a
// body that isn't an object with an event name is an error.
func (c *Client) DecodeEvent(body []byte) (billing.Event, error) {
	var e struct {
		Event looseString     `json:"event"`
		Data  json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		return billing.Event{}, errors.New("the body isn't a JSON object")
	}
	name := string(e.Event)
	if name == "" || len(name) > maxName {
		return billing.Event{}, errors.New("the body has no usable event name")
	}
	var data looseObject
	_ = data.UnmarshalJSON(e.Data) // never fails
	reference := referenceOf(name, data)
	if len(reference) > maxName {
		reference = ""
	}
	return billing.Event{Name: name, Key: eventKey(name, data, body), Mode: data.text("domain"), Reference: reference}, nil
}

// referenceOf returns the reference of the transaction that an event is about. Transfers have references of their own, and no
// transaction.
func referenceOf(name string, data looseObject) string {
	switch family, _, _ := strings.Cut(name, "."); family {
	case "charge":
		// A dispute's own transaction_reference is null.
		return cmp.Or(data.text("reference"), data.transaction().text("reference"))
	case "refund":
		return cmp.Or(data.text("transaction_reference"), data.transaction().text("reference"))
	case "invoice":
		return data.transaction().text("reference")
	}
	return ""
}

// eventKey derives what Paystack doesn't send: an id of the event. Whatever has none is known by its bytes.
func eventKey(name string, data looseObject, body []byte) string {
	if id := data.text("id"); id != "" && id != "0" {
		return keyOf(name, id)
	}
	family, _, _ := strings.Cut(name, ".")
	fields := map[string][]string{
		"refund":       {"transaction_reference", "refund_reference", "status"},
		"invoice":      {"invoice_code", "status", "paid"},
		"subscription": {"subscription_code", "status", "next_payment_date"},
	}[family]
	parts := make([]string, 0, len(fields)+1)
	for _, field := range fields {
		if field == "paid" {
			var paid looseBool
			_ = paid.UnmarshalJSON(data[field]) // never fails
			parts = append(parts, strconv.FormatBool(bool(paid)))
			continue
		}
		parts = append(parts, data.text(field))
	}
	if len(fields) == 0 || parts[0] == "" {
		sum := sha256.Sum256(body)
		return keyOf(name, hex.EncodeToString(sum[:]))
	}
	return keyOf(name, parts...)
}

// keyOf quotes the parts so that two different lists can't give one key, and bounds the length for the index.
func keyOf(name string, parts ...string) string {
	key := name
	for _, part := range parts {
		key += "/" + strconv.Quote(part)
	}
	if len(key) > 300 {
		sum := sha256.Sum256([]byte(key))
		return name + "/" + hex.EncodeToString(sum[:])
	}
	return key
}
