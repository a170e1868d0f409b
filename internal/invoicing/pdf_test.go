package invoicing_test

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"controlplane/internal/invoicing"
)

func renderer(logo []byte) *invoicing.Service {
	return invoicing.New(invoicing.Deps{}, invoicing.Options{Logo: logo, Location: time.FixedZone("WAT", 3600)})
}

func plain(tb testing.TB, s *invoicing.Service, inv invoicing.Invoice) string {
	tb.Helper()
	var out bytes.Buffer
	require.NoError(tb, s.RenderPlain(&out, inv))
	return out.String()
}

// shows reports whether a page has text; the library writes it as UTF-16, with parentheses and backslashes escaped.
func shows(document, text string) bool {
	var encoded strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		encoded.WriteByte(byte(unit >> 8))
		encoded.WriteByte(byte(unit))
	}
	escaped := strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`, "\r", `\r`).Replace(encoded.String())
	return strings.Contains(document, escaped)
}

func TestRenderPDF_ShowsWhatATaxOfficeAsksFor(t *testing.T) {
	t.Parallel()
	document := plain(t, renderer(nil), invoicing.Sample(1))
	for _, text := range []string{
		"INVOICE", "INV-2026-000042", "1 February 2026", "31 Jan 2026 – 27 Feb 2026", "ODOO-4F3A9C01B27D",
		"Odoo Cloud Platform Ltd", "12 Adeola Odeku Street", "Tax no. 12345678-0001", "Nigeria",
		"Ọláṣùnkànmí Adéyẹmí & Söhne", "Tax no. 87654321-0001", "VAT 7.5%", "₦15,000.00", "₦13,953.49", "₦1,046.51",
	} {
		require.True(t, shows(document, text), text)
	}
	require.False(t, shows(document, "TEST: no money was moved. Not a tax document."))
}

func TestRenderPDF_IsTheSameEachTime(t *testing.T) {
	t.Parallel()
	var first, second bytes.Buffer
	require.NoError(t, renderer(nil).RenderPDF(&first, invoicing.Sample(3)))
	require.NoError(t, renderer(nil).RenderPDF(&second, invoicing.Sample(3)))
	require.Equal(t, first.Bytes(), second.Bytes())
	require.True(t, bytes.HasPrefix(first.Bytes(), []byte("%PDF-1.")))
	require.Less(t, first.Len(), 200_000)
}

func TestRenderPDF_ManyLinesTakeSeveralPages(t *testing.T) {
	t.Parallel()
	document := plain(t, renderer(nil), invoicing.Sample(60))
	require.Equal(t, 5, strings.Count(document, "/Type /Page\n"))
	require.True(t, shows(document, "INV-2026-000042  ·  5/"))
}

func TestRenderPDF_CreditNoteAndTestMoney(t *testing.T) {
	t.Parallel()
	note := invoicing.Sample(1)
	note.Number, note.Credits, note.Series, note.Reason = "TESTCN-2026-000001", "TEST-2026-000042", "TESTCN", "Refunded at the customer's wish"
	document := plain(t, renderer(nil), note)
	for _, text := range []string{
		"CREDIT NOTE", "TEST-2026-000042", "Total credited", "Reason: Refunded at the customer's wish",
		"TEST: no money was moved. Not a tax document.",
	} {
		require.True(t, shows(document, text), text)
	}
}

func TestRenderPDF_Logo(t *testing.T) {
	t.Parallel()
	picture := image.NewRGBA(image.Rect(0, 0, 90, 30))
	for i := range 90 * 30 {
		picture.Set(i%90, i/90, color.RGBA{R: 22, G: 78, B: 99, A: 255})
	}
	var logo bytes.Buffer
	require.NoError(t, png.Encode(&logo, picture))
	require.Contains(t, plain(t, renderer(logo.Bytes()), invoicing.Sample(1)), "/Subtype /Image")
	for _, broken := range []string{"\x89PNG\r\n\x1a\nbroken", "\xff\xd8broken", "GIF89a"} {
		document := plain(t, renderer([]byte(broken)), invoicing.Sample(1))
		require.NotContains(t, document, "/Subtype /Image")
		require.True(t, shows(document, "Odoo Cloud Platform Ltd"))
	}
}

// Customers choose their names; none may break the paper.
func FuzzRenderPDF(f *testing.F) {
	for _, seed := range []string{"Ada", "漢字", "😀 & Sons", "a\x00b", "\u202eevil", strings.Repeat("W", 500), "(\\)", "\xff\xfe", "e\u0301\u0301\u0301", "\n\n"} {
		f.Add(seed, int64(750))
	}
	s := renderer(nil)
	f.Fuzz(func(t *testing.T, text string, kobo int64) {
		if len(text) > 2000 {
			return
		}
		inv := invoicing.Sample(2)
		inv.Buyer = invoicing.Party{Name: text, Address: text, Country: text, TaxID: text, Email: text}
		inv.Lines[0].Description, inv.Lines[0].GrossKobo, inv.Reference, inv.Seller.Name = text, kobo, text, text
		require.True(t, strings.HasPrefix(plain(t, s, inv), "%PDF-1."))
	})
}
