package simulator

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

//go:embed pages/checkout.html
var pages embed.FS

// checkoutPage is parsed per request: it is a development tool, and the file stays the only copy.
func checkoutPage() (*template.Template, error) {
	return template.ParseFS(pages, "pages/checkout.html")
}

// view is what the page shows.
type view struct {
	Business  string
	Payer     string
	Amount    string
	Currency  string
	Reference string
	Live      bool
	Paid      bool
	Closed    bool // failed or cancelled for good
	Declined  string
	Step      step
	Card      card
	Cards     []card
	Return    string
}

func (s *Simulator) showCheckout(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	t := s.byAccessCode(r.PathValue("code"))
	var v view
	if t != nil {
		v = s.view(t)
	}
	s.mu.Unlock()
	if t == nil {
		http.Error(w, "This payment page doesn't exist (Paystack simulator).", http.StatusNotFound)
		return
	}
	s.writePage(w, v)
}

func (s *Simulator) writePage(w http.ResponseWriter, v view) {
	var b bytes.Buffer
	page, err := checkoutPage()
	if err == nil {
		err = page.Execute(&b, v)
	}
	if err != nil {
		s.opts.Log.Error("show the checkout page", "error", err)
		http.Error(w, "The page can't be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // the browser has gone; nothing to do
}

func (s *Simulator) byAccessCode(code string) *transaction {
	return s.state.find(func(d *store) *transaction { return d.byAccess[code] })
}

func (s *Simulator) view(t *transaction) view {
	v := view{
		Business: s.opts.BusinessName, Payer: t.Email, Amount: formatAmount(t.Requested), Currency: t.Currency, Reference: t.Reference,
		Live: t.Domain == "live", Paid: t.PaidAt != nil, Closed: t.Status == "failed", Cards: cards(), Return: returnURL(t),
	}
	if t.Label != "" {
		v.Payer = t.Label
	}
	if t.Errors > 0 {
		v.Declined = t.GatewayResponse
	}
	if t.Challenge != nil {
		v.Card, _ = findCard(t.Challenge.Card)
		v.Step = t.Challenge.asks(v.Card)
	}
	return v
}

// formatAmount writes subunits as 1,500,000.00.
func formatAmount(amount int64) string {
	whole := strconv.FormatInt(amount/100, 10)
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return fmt.Sprintf("%s.%02d", whole, amount%100)
}

// returnURL is the callback with both parameters; "" when there is none.
func returnURL(t *transaction) string {
	if t.CallbackURL == "" {
		return ""
	}
	separator := "?"
	if strings.Contains(t.CallbackURL, "?") {
		separator = "&"
	}
	reference := url.QueryEscape(t.Reference)
	return t.CallbackURL + separator + "trxref=" + reference + "&reference=" + reference
}

// postCheckout does one step: choose a card, answer the bank, cancel, or start again with another card.
func (s *Simulator) postCheckout(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "The form can't be read.", http.StatusBadRequest)
		return
	}
	target, paid := s.checkoutStep(r)
	if target == "" {
		http.Error(w, "This payment page doesn't exist (Paystack simulator).", http.StatusNotFound)
		return
	}
	if paid && s.take(WebhookBeforeRedirect, "") != nil {
		_ = s.Settle(r.Context()) // the browser gave up: nothing to wait for
	}
	http.Redirect(w, r, target, http.StatusSeeOther) //nolint:gosec // Paystack sends the browser wherever the merchant said at initialize
}

// checkoutStep returns where the browser goes next, and whether this step paid.
func (s *Simulator) checkoutStep(r *http.Request) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.save()
	t := s.byAccessCode(r.PathValue("code"))
	if t == nil {
		return "", false
	}
	here := r.URL.Path
	if t.PaidAt != nil || t.Status == "failed" {
		return here, false // a second click, or the back button
	}
	switch r.PostForm.Get("action") {
	case "cancel":
		t.Challenge, t.Status = nil, "abandoned"
		s.remember(t, "close", "Page closed")
		s.noteLocked("cancelled", map[string]any{"reference": t.Reference})
		if t.CancelURL != "" {
			return t.CancelURL, false
		}
		return here, false
	case "card":
		if t.Challenge == nil || t.Challenge.AuthCode == "" { // a held up charge is of one card
			s.chooseCard(t, r.PostForm.Get("card"))
		}
	case "answer":
		s.answerStep(t, r.PostForm.Get("value"))
	}
	if t.PaidAt == nil {
		return here, false
	}
	if target := returnURL(t); target != "" {
		return target, true
	}
	return here, true
}

func (s *Simulator) chooseCard(t *transaction, number string) {
	c, ok := findCard(number)
	if !ok || number == "" {
		t.Challenge = nil
		s.decline(t, "Transaction declined. Please use the test card.", false)
		return
	}
	s.remember(t, "action", "Attempted to pay with card")
	s.advance(t, c, 0)
}

// advance asks for the next step of a card, or ends with the bank's answer.
func (s *Simulator) advance(t *transaction, c card, index int) {
	if _, more := c.at(index); more {
		t.Status, t.Challenge = "ongoing", &challenge{Card: c.Number, Index: index}
		return
	}
	if c.Declined != "" {
		s.decline(t, c.Declined, c.Fatal)
		return
	}
	s.pay(t, c)
}

// answerStep checks what the customer typed. A wrong PIN or password kills the charge.
func (s *Simulator) answerStep(t *transaction, value string) {
	if t.Challenge == nil {
		return
	}
	c, _ := findCard(t.Challenge.Card)
	asked := t.Challenge.asks(c)
	value = strings.TrimSpace(value)
	switch {
	case asked == askPIN && value != c.PIN:
		s.decline(t, "Incorrect PIN", true)
	case asked == askOTP && value != c.OTP:
		s.decline(t, "Incorrect OTP", true)
	case asked == askPhone && len(value) < 7:
		// asked again
	case asked == askBank && value != "approve":
		s.decline(t, "3DS authentication failed", t.Challenge.AuthCode != "")
	case t.Challenge.AuthCode != "":
		s.settle(t, c, t.Challenge.AuthCode, "Approved")
	default:
		s.advance(t, c, t.Challenge.Index+1)
	}
}
