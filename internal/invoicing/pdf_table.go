package invoicing

import "strconv"

// Widths of the table's columns; the description has the rest.
const (
	quantityWidth = 14.0
	moneyWidth    = 33.0
	textWidth     = innerWidth - quantityWidth - 3*moneyWidth
	rowLine       = 5.0
	rowPadding    = 2.4
)

func (p *page) table() {
	p.tableHead()
	for i, l := range p.inv.Lines {
		p.row(l, i%2 == 1)
	}
	p.rule()
	p.Ln(4)
}

func (p *page) tableHead() {
	c := p.brand()
	p.SetFillColor(c.r, c.g, c.b)
	p.font("B", 8.5, colour{255, 255, 255})
	p.CellFormat(textWidth, 8, "  Description", "", 0, "L", true, 0, "")
	p.CellFormat(quantityWidth, 8, "Qty", "", 0, "R", true, 0, "")
	p.CellFormat(moneyWidth, 8, "Net", "", 0, "R", true, 0, "")
	p.CellFormat(moneyWidth, 8, p.taxLabel(), "", 0, "R", true, 0, "")
	p.CellFormat(moneyWidth, 8, "Amount  ", "", 1, "R", true, 0, "")
}

func (p *page) taxLabel() string {
	if p.inv.TaxName == "" {
		return "Tax"
	}
	return p.inv.TaxName + " " + percent(p.inv.TaxBasisPoints)
}

// row writes one line, as high as its description; a row isn't torn between two pages.
func (p *page) row(l Line, shaded bool) {
	p.font("", 9.5, p.ink())
	wrapped := p.SplitText(p.printable(l.Description), textWidth-6)
	height := float64(max(len(wrapped), 1))*rowLine + 2*rowPadding
	if _, pageHeight := p.GetPageSize(); p.GetY()+height > pageHeight-footer {
		p.AddPage()
		p.tableHead()
		p.font("", 9.5, p.ink())
	}
	top := p.GetY()
	if shaded {
		p.SetFillColor(248, 249, 250)
		p.Rect(margin, top, innerWidth, height, "F")
	}
	for i, text := range wrapped {
		p.SetXY(margin+2, top+rowPadding+float64(i)*rowLine)
		p.CellFormat(textWidth-2, rowLine, text, "", 0, "L", false, 0, "")
	}
	p.SetXY(margin+textWidth, top+rowPadding)
	p.CellFormat(quantityWidth, rowLine, strconv.Itoa(l.Quantity), "", 0, "R", false, 0, "")
	p.money(l.NetKobo, "")
	p.money(l.TaxKobo, "")
	p.money(l.GrossKobo, "  ")
	p.SetY(top + height)
}

func (p *page) money(kobo int64, after string) {
	p.CellFormat(moneyWidth, rowLine, amount(p.inv.Currency, kobo)+after, "", 0, "R", false, 0, "")
}

// totals stay together, with the words below them.
func (p *page) totals() {
	if _, pageHeight := p.GetPageSize(); p.GetY()+63 > pageHeight-footer {
		p.AddPage()
	}
	const label, value = 42.0, 40.0
	x := pageWidth - margin - label - value
	line := func(text string, kobo int64) {
		p.SetX(x)
		p.font("", 9.5, p.faint())
		p.cell(label, 6.5, text, "L")
		p.font("", 9.5, p.ink())
		p.cell(value, 6.5, amount(p.inv.Currency, kobo)+"  ", "R")
		p.Ln(6.5)
	}
	line("Net", p.inv.NetKobo)
	line(p.taxLabel(), p.inv.TaxKobo)
	p.Ln(1.5)
	c := p.brand()
	p.SetFillColor(c.r, c.g, c.b)
	p.Rect(x-4, p.GetY(), label+value+4, 10, "F")
	p.SetX(x)
	p.font("B", 11, colour{255, 255, 255})
	total := "Total"
	if p.inv.Credits != "" {
		total = "Total credited"
	}
	p.cell(label, 10, total, "L")
	p.cell(value, 10, amount(p.inv.Currency, p.inv.GrossKobo)+"  ", "R")
	p.Ln(12)
	if p.inv.CreditKobo > 0 {
		line("Paid from credit", p.inv.CreditKobo)
		line("Paid now", p.inv.GrossKobo-p.inv.CreditKobo)
	}
	p.Ln(4)
}

// notes say in words what a reader of the numbers asks next.
func (p *page) notes() {
	text := "All amounts in " + p.inv.Currency + "."
	if p.inv.TaxNote != "" {
		text = p.inv.TaxNote + "\n" + text
	}
	switch {
	case p.inv.Credits != "":
		text = "This credit note reduces invoice " + p.inv.Credits + ". " + text
		if p.inv.Reason != "" {
			text = "Reason: " + p.inv.Reason + "\n" + text
		}
	case p.inv.Reference != "":
		text = "Paid in full. Thank you for your business.\n" + text
	}
	p.font("", 9, p.faint())
	p.block(margin, innerWidth, 5, text)
}
