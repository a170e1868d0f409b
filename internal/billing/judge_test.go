package billing

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	p := Payment{Reference: "ODOO-0123456789AB", AmountKobo: 100, Currency: "NGN", Mode: "live"}
	good := Transaction{Reference: p.Reference, AmountKobo: 100, RequestedKobo: 100, Currency: "NGN", Mode: "live", Status: GatewaySuccess}
	for _, tc := range []struct {
		name   string
		change func(*Transaction)
		want   verdict
		noted  bool
	}{
		{"as asked", func(*Transaction) {}, paid, false},
		{"abandoned", func(t *Transaction) { t.Status = GatewayAbandoned }, waiting, false},
		{"ongoing", func(t *Transaction) { t.Status = GatewayOngoing }, waiting, false},
		{"queued", func(t *Transaction) { t.Status = GatewayQueued }, waiting, false},
		{"failed", func(t *Transaction) { t.Status = GatewayFailed }, declined, false},
		{"reversed", func(t *Transaction) { t.Status = GatewayReversed }, reversed, true},
		{"reversal pending", func(t *Transaction) { t.Status = GatewayReversalPending }, reversing, true},
		{"unknown status", func(t *Transaction) { t.Status = "exploded" }, waiting, true},
		{"no status", func(t *Transaction) { t.Status = "" }, waiting, true},
		{"capitals", func(t *Transaction) { t.Status = "SUCCESS" }, waiting, true},
		{"one kobo less", func(t *Transaction) { t.AmountKobo = 99 }, suspect, true},
		{"one kobo more", func(t *Transaction) { t.AmountKobo = 101 }, suspect, true},
		{"requested amount doesn't count", func(t *Transaction) { t.AmountKobo, t.RequestedKobo = 50, 100 }, suspect, true},
		{"currency", func(t *Transaction) { t.Currency = "GHS" }, suspect, true},
		{"currency in small letters", func(t *Transaction) { t.Currency = "ngn" }, suspect, true},
		{"mode", func(t *Transaction) { t.Mode = "test" }, suspect, true},
		{"reference", func(t *Transaction) { t.Reference = "ODOO-BA9876543210" }, suspect, true},
		{"reference of one that isn't paid", func(t *Transaction) { t.Reference, t.Status = "x", GatewayAbandoned }, suspect, true},
		{"nothing at all", func(t *Transaction) { *t = Transaction{} }, suspect, true},
	} {
		tx := good
		tc.change(&tx)
		got, note := judge(p, tx)
		require.Equal(t, tc.want, got, tc.name)
		require.Equal(t, tc.noted, note != "", tc.name)
	}
}
