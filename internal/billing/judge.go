package billing

import "fmt"

// verdict is what the gateway's word means for one of our rows.
type verdict int

const (
	waiting   verdict = iota // nothing final yet
	paid                     // exactly what we asked for
	declined                 // failed; may still be paid later
	reversing                // a refund, full or partial, is on its way
	reversed                 // the money went back
	suspect                  // money, but not as we asked for: a person looks
)

// judge compares the gateway's transaction with our own row. Nothing counts as paid unless reference, mode, currency and amount are
// all exactly ours; the second result says what isn't.
func judge(p Payment, t Transaction) (verdict, string) {
	if t.Reference != p.Reference {
		return suspect, fmt.Sprintf("the gateway answered for another reference (%.40q)", t.Reference)
	}
	switch t.Status {
	case GatewaySuccess:
		if differs := difference(p, t); differs != "" {
			return suspect, differs
		}
		return paid, ""
	case GatewayFailed:
		return declined, ""
	case GatewayReversalPending:
		return reversing, "a refund is under way at the gateway"
	case GatewayReversed:
		return reversed, "the gateway has returned the money"
	case GatewayAbandoned, GatewayOngoing, GatewayPending, GatewayProcessing, GatewayQueued:
		return waiting, ""
	}
	return waiting, fmt.Sprintf("unknown gateway status %.40q", string(t.Status))
}

func difference(p Payment, t Transaction) string {
	switch {
	case t.Mode != p.Mode:
		return fmt.Sprintf("mode differs: paid in %.10q, asked in %q", t.Mode, p.Mode)
	case t.Currency != p.Currency:
		return fmt.Sprintf("currency differs: paid in %.10q, asked for %q", t.Currency, p.Currency)
	case t.AmountKobo != p.AmountKobo:
		return fmt.Sprintf("amount differs: paid %d kobo, asked for %d", t.AmountKobo, p.AmountKobo)
	}
	return ""
}
