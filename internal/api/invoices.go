package api

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/invoicing"
)

type (
	invoiceAnswer struct {
		Number           string              `json:"number"`
		Kind             string              `json:"kind"`            // "invoice" or "credit_note"
		CreditsInvoice   *string             `json:"credits_invoice"` // the number of the invoice that a credit note takes from
		IssuedAt         wireTime            `json:"issued_at"`
		PeriodStart      *string             `json:"period_start"` // days
		PeriodEnd        *string             `json:"period_end"`
		Amount           float64             `json:"amount"` // naira, as in payments
		Currency         string              `json:"currency"`
		NetKobo          int64               `json:"net_kobo"`
		TaxKobo          int64               `json:"tax_kobo"`
		TotalKobo        int64               `json:"total_kobo"`
		CreditKobo       int64               `json:"credit_kobo"` // of the total, paid from the account's credit
		TaxName          string              `json:"tax_name"`
		TaxPercent       float64             `json:"tax_percent"`
		TaxNote          *string             `json:"tax_note"` // why the tax isn't the usual one
		PaymentReference *string             `json:"payment_reference"`
		Reason           *string             `json:"reason"` // of a credit note
		Seller           invoicing.Party     `json:"seller"`
		Buyer            invoicing.Party     `json:"buyer"`
		Lines            []invoiceLineAnswer `json:"lines"`
		PDF              string              `json:"pdf"` // path
	}
	invoiceLineAnswer struct {
		Description string `json:"description"`
		Quantity    int    `json:"quantity"`
		NetKobo     int64  `json:"net_kobo"`
		TaxKobo     int64  `json:"tax_kobo"`
		TotalKobo   int64  `json:"total_kobo"`
	}
	profileRequest struct {
		Name    *string `json:"name" validate:"omitempty,max=1000"`
		Address *string `json:"address" validate:"omitempty,max=3000"`
		Country *string `json:"country" validate:"omitempty,max=100"`
		TaxID   *string `json:"tax_id" validate:"omitempty,max=1000"`
	}
	profileAnswer struct {
		Name    string `json:"name"`
		Address string `json:"address"`
		Country string `json:"country"`
		TaxID   string `json:"tax_id"`
	}
)

const oneInvoice = "/api/invoices/{number}"

func (s *server) invoiceRoutes(r chi.Router) {
	r.Get("/api/invoices", s.user(s.listInvoices))
	r.Get(oneInvoice+".pdf", s.user(s.invoicePDF))
	r.Get(oneInvoice+".json", s.user(s.getInvoice))
	r.Get("/api/billing/profile", s.user(s.billingProfile))
	r.Patch("/api/billing/profile", s.user(s.updateBillingProfile))
}

func (s *server) listInvoices(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	return page(s, w, r, newInvoiceAnswer, func(skip, limit int) ([]invoicing.Invoice, int, error) {
		return s.deps.Invoices.List(r.Context(), p, skip, limit)
	})
}

func (s *server) findInvoice(r *http.Request, p accounts.Principal) (invoicing.Invoice, error) {
	number, ok := pathParam(r, "number")
	if !ok || !isInvoiceNumber(number) {
		return invoicing.Invoice{}, invoicing.ErrNotFound
	}
	return s.deps.Invoices.Get(r.Context(), p, number)
}

// isInvoiceNumber keeps what PostgreSQL can't even compare away from it, and out of a header.
func isInvoiceNumber(text string) bool {
	for _, c := range []byte(text) {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return text != ""
}

func (s *server) getInvoice(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	inv, err := s.findInvoice(r, p)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, newInvoiceAnswer(inv))
}

func (s *server) invoicePDF(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "invoice", s.opts.Rates.Invoice); err != nil {
		return err
	}
	inv, err := s.findInvoice(r, p)
	if err != nil {
		return err
	}
	var document bytes.Buffer
	if err := s.deps.Invoices.RenderPDF(&document, inv); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/pdf")
	h.Set("Content-Disposition", `inline; filename="`+inv.Number+`.pdf"`)
	h.Set("Content-Length", strconv.Itoa(document.Len()))
	_, _ = document.WriteTo(w) // a caller who hung up isn't our trouble
	return nil
}

func newInvoiceAnswer(inv invoicing.Invoice) invoiceAnswer {
	kind := "invoice"
	if inv.Credits != "" {
		kind = "credit_note"
	}
	out := invoiceAnswer{
		Number: inv.Number, Kind: kind, CreditsInvoice: orNull(inv.Credits), IssuedAt: wireTime(inv.IssuedAt), PeriodStart: wireDay(inv.PeriodStart),
		PeriodEnd: wireDay(inv.PeriodEnd), Amount: major(inv.GrossKobo), Currency: inv.Currency, NetKobo: inv.NetKobo, TaxKobo: inv.TaxKobo,
		TotalKobo: inv.GrossKobo, CreditKobo: inv.CreditKobo, TaxNote: orNull(inv.TaxNote), TaxName: inv.TaxName, TaxPercent: float64(inv.TaxBasisPoints) / 100, PaymentReference: orNull(inv.Reference),
		Reason: orNull(inv.Reason), Seller: inv.Seller, Buyer: inv.Buyer, Lines: []invoiceLineAnswer{}, PDF: "/api/invoices/" + inv.Number + ".pdf",
	}
	for _, l := range inv.Lines {
		out.Lines = append(out.Lines, invoiceLineAnswer{
			Description: l.Description, Quantity: l.Quantity, NetKobo: l.NetKobo, TaxKobo: l.TaxKobo, TotalKobo: l.GrossKobo,
		})
	}
	return out
}

func wireDay(t *time.Time) *string {
	if t == nil {
		return nil
	}
	day := t.Format(time.DateOnly)
	return &day
}

func (s *server) billingProfile(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	profile, err := s.deps.Invoices.Profile(r.Context(), p)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, profileAnswer(profile))
}

func (s *server) updateBillingProfile(w http.ResponseWriter, r *http.Request, p accounts.Principal) error {
	if err := s.limitAccount(r, p, "profile", s.opts.Rates.Profile); err != nil {
		return err
	}
	var in profileRequest
	if err := s.decodeJSON(w, r, &in); err != nil {
		return err
	}
	profile, err := s.deps.Invoices.UpdateProfile(r.Context(), p, s.clientIP(r), invoicing.ProfileInput(in))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, profileAnswer(profile))
}
