package billing

import (
	"fmt"
	"strings"
)

// counterpart is our side of a comparison; it is comparable, so that a change is seen.
type counterpart struct {
	ID           PaymentID
	Reference    string
	Status       Status
	Review       string
	Mode         string
	Currency     string
	AmountKobo   int64
	ReceivedKobo int64
	RefundedKobo int64
	FeesKobo     int64 // -1: not known
	GivenKobo    int64 // by refunds that are through
	Returning    bool  // a refund or a dispute is open
}

func (c counterpart) String() string {
	text := fmt.Sprintf("%s, %d kobo %s, %s", c.Status, c.AmountKobo, c.Currency, c.Mode)
	if c.RefundedKobo > 0 {
		text += fmt.Sprintf(", %d went back", c.RefundedKobo)
	}
	if c.Review != "" {
		text += ", in review: " + c.Review
	}
	return text
}

// mismatch is something in which the gateway and we don't agree.
type mismatch struct {
	Kind      string
	Reference string
	PaymentID PaymentID // 0: unknown here
	Ours      string
	Theirs    string
}

func describe(t Transaction) string {
	return clipText(fmt.Sprintf("%s, %d kobo %s, %s", t.Status, t.AmountKobo, t.Currency, t.Mode), 200)
}

// compare returns in what our payment and the gateway's transaction differ; nil means that the gateway doesn't know it.
func compare(c counterpart, t *Transaction) []mismatch {
	differ := func(kind, theirs string) []mismatch {
		return []mismatch{{Kind: kind, Reference: c.Reference, PaymentID: c.ID, Ours: clipText(c.String(), 300), Theirs: theirs}}
	}
	settled := c.Status == StatusSuccess || c.Status == StatusRefunded
	if t == nil {
		if settled || c.Review != "" {
			return differ("unknown_there", "unknown")
		}
		return nil
	}
	money := t.Status == GatewaySuccess || returning(t.Status)
	parked := !settled && c.ReceivedKobo > 0
	switch {
	case !settled && !parked && !money:
		return nil // nothing was paid, and nobody says otherwise
	case t.Mode != c.Mode:
		return differ("mode", describe(*t))
	case t.Currency != c.Currency:
		return differ("currency", describe(*t))
	case money && t.AmountKobo != c.AmountKobo && (c.Status != StatusRefunded || c.ReceivedKobo != t.AmountKobo):
		return differ("amount", describe(*t))
	case settled && !money:
		return differ("unpaid_there", describe(*t))
	case !settled:
		return differ("unpaid_here", describe(*t))
	}
	return compareReturned(c, *t, differ)
}

// compareReturned is for what was paid on both sides.
func compareReturned(c counterpart, t Transaction, differ func(kind, theirs string) []mismatch) []mismatch {
	switch {
	case t.Status == GatewayReversed && (c.Review != "" || c.Status == StatusSuccess && c.RefundedKobo == 0 && !c.Returning):
		return differ("reversed_there", describe(t))
	case t.Status == GatewayReversalPending && !c.Returning:
		return differ("reversing_there", describe(t))
	case t.Status == GatewaySuccess && c.Status == StatusRefunded:
		return differ("refunded_here", describe(t))
	case t.FeesKobo != nil && *t.FeesKobo != c.FeesKobo:
		return differ("fee", fmt.Sprintf("fee %d kobo", *t.FeesKobo))
	}
	return nil
}

// clipText bounds what is stored of others' words.
func clipText(text string, n int) string { return strings.ToValidUTF8(text[:min(len(text), n)], "") }
