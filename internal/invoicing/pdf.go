package invoicing

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"codeberg.org/go-pdf/fpdf"
	"github.com/go-fonts/liberation/liberationsansbold"
	"github.com/go-fonts/liberation/liberationsansregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/text/language"
	"golang.org/x/text/language/display"
	"golang.org/x/text/unicode/norm"
)

// Measures of the page, in millimetres.
const (
	pageWidth  = 210.0
	margin     = 18.0
	innerWidth = pageWidth - 2*margin
	footer     = 24.0 // what the foot of a page takes
)

const (
	dayText   = "2 January 2006"
	pagesMark = "{pages}"
)

type colour struct{ r, g, b int }

// page is a document that is being drawn.
type page struct {
	*fpdf.Fpdf

	inv      Invoice
	glyphs   *sfnt.Font
	buffer   sfnt.Buffer
	location *time.Location
	compress bool
}

func (p *page) ink() colour   { return colour{33, 37, 41} }
func (p *page) faint() colour { return colour{108, 117, 125} }
func (p *page) brand() colour { return colour{22, 78, 99} }
func (p *page) tint() colour  { return colour{236, 244, 247} }

// RenderPDF writes an invoice or credit note as an A4 document. The same one always yields the same bytes.
func (s *Service) RenderPDF(w io.Writer, inv Invoice) error { return s.render(w, inv, true) }

func (s *Service) render(w io.Writer, inv Invoice, compress bool) error {
	glyphs, err := sfnt.Parse(liberationsansregular.TTF)
	if err != nil {
		return fmt.Errorf("read the font: %w", err)
	}
	p := &page{Fpdf: fpdf.New("P", "mm", "A4", ""), inv: inv, glyphs: glyphs, location: s.opts.Location, compress: compress}
	p.open()
	p.AddPage()
	p.head(s.opts.Logo)
	p.parties()
	p.facts()
	p.table()
	p.totals()
	p.notes()
	if err := p.Output(w); err != nil {
		return fmt.Errorf("draw invoice %s: %w", inv.Number, err)
	}
	return nil
}

// open sets all that isn't drawn. Nothing depends on when it is drawn, so that a copy is a copy.
func (p *page) open() {
	p.SetCompression(p.compress)
	p.SetCatalogSort(true)
	p.SetCreationDate(p.inv.IssuedAt)
	p.SetModificationDate(p.inv.IssuedAt)
	p.SetTitle(p.kind()+" "+p.inv.Number, true)
	p.SetAuthor(p.printable(p.inv.Seller.Name), true)
	p.SetProducer("controlplane", true)
	p.SetLang("en")
	p.AddUTF8FontFromBytes("sans", "", liberationsansregular.TTF)
	p.AddUTF8FontFromBytes("sans", "B", liberationsansbold.TTF)
	p.SetMargins(margin, margin, margin)
	p.SetCellMargin(0)
	p.SetAutoPageBreak(true, footer)
	p.AliasNbPages(pagesMark)
	p.SetFooterFunc(p.foot)
	p.SetHeaderFunc(p.strip)
}

func (p *page) kind() string {
	if p.inv.Credits != "" {
		return "Credit note"
	}
	return "Invoice"
}

// strip is the coloured line at the top of each page.
func (p *page) strip() {
	c := p.brand()
	p.SetFillColor(c.r, c.g, c.b)
	p.Rect(0, 0, pageWidth, 4, "F")
	p.SetY(margin)
}

func (p *page) foot() {
	p.SetY(-18)
	p.rule()
	p.Ln(2)
	p.font("", 8, p.faint())
	line := []string{p.inv.Seller.Name}
	if p.inv.Seller.TaxID != "" {
		line = append(line, "Tax no. "+p.inv.Seller.TaxID)
	}
	if p.inv.Seller.Email != "" {
		line = append(line, p.inv.Seller.Email)
	}
	p.fitted(innerWidth-55, 5, strings.Join(line, "  ·  "))
	p.font("", 8, p.faint())
	number := fmt.Sprintf("%s  ·  %d/", p.inv.Number, p.PageNo())
	p.SetX(pageWidth - margin - p.GetStringWidth(number+"9")) // the number of pages takes the place of its mark at the very end
	p.CellFormat(0, 5, number+pagesMark, "", 0, "L", false, 0, "")
}

// head is the seller's logo or name, and what kind of paper it is.
func (p *page) head(logo []byte) {
	top := p.GetY()
	if !p.logo(logo, top) {
		p.font("B", 17, p.brand())
		p.SetXY(margin, top)
		p.fitted(innerWidth-75, 10, p.inv.Seller.Name)
	}
	p.font("B", 21, p.ink())
	p.SetXY(pageWidth-margin-75, top)
	p.cell(75, 10, strings.ToUpper(p.kind()), "R")
	p.font("", 10.5, p.faint())
	p.SetXY(pageWidth-margin-75, top+9.5)
	p.cell(75, 6, p.inv.Number, "R")
	if p.inv.Series == seriesTest || p.inv.Series == seriesTestCredit {
		p.font("B", 9, colour{176, 42, 55})
		p.SetXY(margin, top+12)
		p.cell(100, 6, "TEST: no money was moved. Not a tax document.", "L")
	}
	p.SetY(top + 26)
}

// logo reports whether there is one that can be drawn.
func (p *page) logo(image []byte, top float64) bool {
	kind := imageKind(image)
	if kind == "" {
		return false
	}
	opts := fpdf.ImageOptions{ImageType: kind}
	info := p.RegisterImageOptionsReader("logo", opts, bytes.NewReader(image))
	if p.Err() || info == nil {
		p.ClearError()
		return false
	}
	height := 16.0
	width := min(info.Width()*height/info.Height(), 80)
	p.ImageOptions("logo", margin, top-2, width, 0, false, opts, 0, "")
	return true
}

func imageKind(image []byte) string {
	switch {
	case bytes.HasPrefix(image, []byte("\x89PNG")):
		return "PNG"
	case bytes.HasPrefix(image, []byte("\xff\xd8")):
		return "JPG"
	}
	return ""
}

// parties are seller and buyer, side by side.
func (p *page) parties() {
	top := p.GetY()
	half := innerWidth/2 - 5
	p.party("From", p.inv.Seller, margin, half)
	bottom := p.GetY()
	p.SetY(top)
	p.party("Billed to", p.inv.Buyer, margin+innerWidth/2+5, half)
	p.SetY(max(bottom, p.GetY()) + 7)
}

func (p *page) party(label string, who Party, x, width float64) {
	p.SetX(x)
	p.font("B", 8, p.faint())
	p.cell(width, 5, strings.ToUpper(label), "L")
	p.Ln(6)
	p.font("B", 10.5, p.ink())
	p.block(x, width, 5.2, who.Name)
	p.font("", 9.5, p.ink())
	lines := who.Address
	for _, more := range []string{countryName(who.Country), labelled("Tax no. ", who.TaxID), who.Email} {
		if more != "" {
			lines += "\n" + more
		}
	}
	p.block(x, width, 4.9, strings.TrimPrefix(lines, "\n"))
}

// countryName returns the English name of a country.
func countryName(code string) string {
	region, err := language.ParseRegion(code)
	if err != nil {
		return code
	}
	return display.English.Regions().Name(region)
}

func labelled(label, value string) string {
	if value == "" {
		return ""
	}
	return label + value
}

// facts are the box with dates and references.
func (p *page) facts() {
	type fact struct{ label, value string }
	facts := []fact{{"Date", p.inv.IssuedAt.In(p.location).Format(dayText)}}
	if p.inv.PeriodStart != nil && p.inv.PeriodEnd != nil {
		facts = append(facts, fact{"Service period", p.inv.PeriodStart.Format("2 Jan 2006") + " – " + p.inv.PeriodEnd.Format("2 Jan 2006")})
	}
	if p.inv.Reference != "" {
		facts = append(facts, fact{"Payment reference", p.inv.Reference})
	}
	if p.inv.Credits != "" {
		facts = append(facts, fact{"Credits invoice", p.inv.Credits})
	}
	width := innerWidth / float64(len(facts))
	top, c := p.GetY(), p.tint()
	p.SetFillColor(c.r, c.g, c.b)
	p.Rect(margin, top, innerWidth, 15, "F")
	for i, f := range facts {
		x := margin + 4 + float64(i)*width
		p.SetXY(x, top+2.2)
		p.font("", 7.5, p.faint())
		p.cell(width-5, 4, f.label, "L")
		p.SetXY(x, top+6.8)
		p.font("B", 9.5, p.ink())
		p.fitted(width-5, 5, f.value)
	}
	p.SetY(top + 22)
}

// font chooses what is written next.
func (p *page) font(style string, size float64, c colour) {
	p.SetFont("sans", style, size)
	p.SetTextColor(c.r, c.g, c.b)
}

func (p *page) cell(width, height float64, text, align string) {
	p.CellFormat(width, height, p.printable(text), "", 0, align, false, 0, "")
}

// fitted is a cell whose text becomes smaller until it fits, and is cut when it would be too small to read.
func (p *page) fitted(width, height float64, text string) {
	text = p.printable(text)
	size, _ := p.GetFontSize()
	for p.GetStringWidth(text) > width-2 && size > 7 {
		size -= 0.5
		p.SetFontSize(size)
	}
	for runes := []rune(text); p.GetStringWidth(text) > width-2 && len(runes) > 1; {
		runes = runes[:len(runes)-1]
		text = string(runes) + "…"
	}
	p.CellFormat(width, height, text, "", 0, "L", false, 0, "")
}

// block is text of as many lines as it takes.
func (p *page) block(x, width, height float64, text string) {
	if text == "" {
		return
	}
	p.SetX(x)
	p.SetLeftMargin(x)
	p.MultiCell(width, height, p.printable(text), "", "L", false)
	p.SetLeftMargin(margin)
}

func (p *page) rule() {
	p.SetDrawColor(206, 212, 218)
	p.SetLineWidth(0.2)
	p.Line(margin, p.GetY(), pageWidth-margin, p.GetY())
}

// printable composes text and puts a mark in the place of what the font can't show.
func (p *page) printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == ' ' {
			return r
		}
		if r > 0xFFFF { // neither can the PDF library
			return '□'
		}
		if glyph, err := p.glyphs.GlyphIndex(&p.buffer, r); err != nil || glyph == 0 {
			return '□'
		}
		return r
	}, norm.NFC.String(text))
}
