package api

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"

	"controlplane/internal/billing"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

//go:embed pages
var pages embed.FS

// callbackAnswer is what anybody who knows a payment's reference may see: how far the purchase is and where the Odoo will be. A
// reference has 48 random bits and goes through the customer's browser only; there are no names, prices or credentials here.
type callbackAnswer struct {
	Reference     string         `json:"reference"`
	PaymentStatus billing.Status `json:"payment_status"`
	Status        tenants.State  `json:"status"`
	Title         string         `json:"title"`
	Message       string         `json:"message"`
	Step          string         `json:"step"`
	StepNumber    int            `json:"step_number"`
	Steps         int            `json:"steps"`
	Done          bool           `json:"done"` // nothing more will change by itself
	URL           *string        `json:"url"`  // once it can be opened
}

func (s *server) paymentProgress(w http.ResponseWriter, r *http.Request) error {
	reference, ok := pathParam(r, "reference")
	if !ok {
		return billing.ErrPaymentNotFound
	}
	answer, err := s.callback(r, reference)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

func (s *server) callback(r *http.Request, reference string) (callbackAnswer, error) {
	if err := s.limitAddress(r, "progress", s.opts.Rates.Progress); err != nil {
		return callbackAnswer{}, err
	}
	payment, err := s.deps.Billing.ByReference(r.Context(), reference)
	if err != nil {
		return callbackAnswer{}, err
	}
	t, err := s.deps.Tenants.ByID(r.Context(), payment.TenantID)
	if err != nil {
		return callbackAnswer{}, err
	}
	if payment.Status == billing.StatusPending && t.State != tenants.Pending {
		// It may have been applied between the two reads.
		if payment, err = s.deps.Billing.ByReference(r.Context(), reference); err != nil {
			return callbackAnswer{}, err
		}
	}
	op, err := s.deps.Ops.Latest(r.Context(), t.ID.Subject())
	if err != nil && !errors.Is(err, ops.ErrNotFound) {
		return callbackAnswer{}, err
	}
	answer := callbackAnswer{Reference: payment.Reference, PaymentStatus: payment.Status, Status: t.State}
	answer.Title, answer.Message, answer.Done = callbackText(payment, t)
	switch {
	case t.State == tenants.Active:
		url := s.opts.TenantURL(t.Domain)
		answer.URL = &url
	case op.ID != 0:
		answer.Step, answer.StepNumber, answer.Steps = op.Step, op.StepIndex+1, op.StepCount
	}
	return answer, nil
}

const textReview = "Your payment has been noted and needs a look by one of us. You will hear from us."

// callbackText says in a sentence where the purchase stands, and whether waiting is over.
func callbackText(p billing.Payment, t tenants.Tenant) (title, text string, over bool) {
	switch {
	case t.State == tenants.Active:
		return "Your Odoo is ready", "Your payment has arrived and everything is set up.", true
	case t.State == tenants.Provisioning:
		return "Setting up your Odoo", "Your payment has arrived. This takes a few seconds.", false
	case t.State == tenants.Failed:
		return "This takes longer", "Your payment has arrived, but setting up your Odoo takes longer than it should. " +
			"We know and are looking after it.", true
	case t.State == tenants.Pending && p.Review != "": // money may have moved, though the payment doesn't count as paid
		return "We are looking at it", textReview, true
	case t.State == tenants.Pending && p.Status == billing.StatusFailed:
		return "Not paid", "The payment didn't go through. Nothing was charged; please try again.", true
	case t.State == tenants.Pending && p.Status == billing.StatusPending:
		return "One moment", "Waiting for the payment to be confirmed.", false
	case t.State == tenants.Pending:
		return "We are looking at it", textReview, true
	}
	return "Not available", "Your Odoo isn't available at the moment.", true
}

// callbackPage shows the progress as it is, and brings the script that keeps it live. Without scripts it reloads itself.
func (s *server) callbackPage(w http.ResponseWriter, r *http.Request) error {
	q := parseQuery(r)
	reference := q.text("reference")
	if reference == "" {
		reference = q.text("trxref")
	}
	if q.err != nil {
		return q.err
	}
	answer, err := s.callback(r, reference)
	status := http.StatusOK
	if errors.Is(err, billing.ErrPaymentNotFound) {
		answer, status, err = callbackAnswer{
			Title: "Unknown payment", Message: "We don't know this payment. Please check the link.", Done: true,
		}, http.StatusNotFound, nil
	}
	if err != nil {
		return err
	}
	return s.page(w, status, "pages/callback.html", callbackPolicy, struct {
		callbackAnswer

		Passed  float64 // on the bar: the step that is being done isn't done yet
		AppName string
	}{answer, float64(answer.StepNumber) - 0.5, s.opts.AppName})
}

// What our few pages may load: our own files. The docs page styles itself from its script.
const (
	callbackPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
	docsPolicy     = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
		"connect-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)

// page renders one of our few pages under a policy that allows our own files and nothing else.
func (s *server) page(w http.ResponseWriter, status int, name, policy string, data any) error {
	tmpl, err := template.ParseFS(pages, name)
	if err != nil {
		return fmt.Errorf("parse %s: %w", name, err)
	}
	var body bytes.Buffer
	if err := tmpl.Execute(&body, data); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // a caller who hung up isn't our trouble
	return nil
}

func (s *server) callbackScript(w http.ResponseWriter, _ *http.Request) error {
	return asset(w, "pages/callback.js", "text/javascript; charset=utf-8")
}

func (s *server) callbackStyle(w http.ResponseWriter, _ *http.Request) error {
	return asset(w, "pages/callback.css", "text/css; charset=utf-8")
}

func asset(w http.ResponseWriter, name, contentType string) error {
	body, err := pages.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Cache-Control", "public, max-age=300")
	_, _ = w.Write(body) // a caller who hung up isn't our trouble
	return nil
}
