package invoicing

import (
	"io"
	"time"
)

// NetOf is for property tests of rounding.
func NetOf(gross, basisPoints int64) int64 { return taxRate{basisPoints: basisPoints}.netOf(gross) }

// GrossOf is for property tests of rounding.
func GrossOf(net, basisPoints int64) int64 { return taxRate{basisPoints: basisPoints}.grossOf(net) }

// Amount is for tests of how money is written.
func Amount(currency string, kobo int64) string { return amount(currency, kobo) }

// RenderPlain is RenderPDF with streams that a test can read.
func (s *Service) RenderPlain(w io.Writer, inv Invoice) error { return s.render(w, inv, false) }

// Sample is an invoice that was never stored.
func Sample(lines int) Invoice {
	start, end := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), time.Date(2026, 2, 27, 0, 0, 0, 0, time.UTC)
	inv := Invoice{
		Number: "INV-2026-000042", Series: seriesLive, Reference: "ODOO-4F3A9C01B27D", IssuedAt: time.Date(2026, 1, 31, 23, 30, 0, 0, time.UTC),
		PeriodStart: &start, PeriodEnd: &end, Currency: "NGN", TaxName: "VAT", TaxBasisPoints: 750,
		Seller: Party{
			Name: "Odoo Cloud Platform Ltd", Address: "12 Adeola Odeku Street\nVictoria Island\nLagos", Country: "NG", TaxID: "12345678-0001",
			Email: "billing@example.com",
		},
		Buyer: Party{
			Name: "Ọláṣùnkànmí Adéyẹmí & Söhne", Address: "Plot 7, Àkùrẹ́ Road\nIbadan", Country: "NG", TaxID: "87654321-0001", Email: "ola@example.com",
		},
	}
	for i := range lines {
		l := Line{Description: "Odoo hosting, plan Business (monthly), client acme", Quantity: 1, GrossKobo: 1_500_000 + int64(i)}
		l.NetKobo = NetOf(l.GrossKobo, 750)
		l.TaxKobo = l.GrossKobo - l.NetKobo
		inv.add(l)
	}
	return inv
}
