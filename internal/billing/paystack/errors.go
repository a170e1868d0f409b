package paystack

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"controlplane/internal/billing"
)

// apiError is an answer that isn't a success, or no answer at all (HTTP 0). Its text is for logs only.
type apiError struct {
	HTTP       int
	Code       string
	Type       string
	Message    string
	RetryAfter time.Duration
	cause      error
}

// Error names the code first; Paystack's message is display text.
func (e *apiError) Error() string {
	if e.HTTP == 0 {
		return fmt.Sprintf("paystack: no usable answer: %v", e.cause)
	}
	return fmt.Sprintf("paystack: HTTP %d, code %q, type %q: %.300q", e.HTTP, e.Code, e.Type, e.Message)
}

// Unwrap returns what kept the answer away, if anything.
func (e *apiError) Unwrap() error { return e.cause }

// Is classes the error for billing: Paystack's own no to what was asked is definite, everything else leaves the outcome open.
func (e *apiError) Is(target error) bool {
	switch target {
	case billing.ErrTransactionNotFound:
		return e.notFound()
	case billing.ErrDuplicateReference:
		return e.Code == "duplicate_reference" || e.HTTP == http.StatusBadRequest && e.Message == "Duplicate Transaction Reference"
	case billing.ErrAuthorizationUnusable:
		return e.authorizationUnusable()
	case billing.ErrAlreadyRefunded:
		return e.Code == "transaction_reversed" || e.HTTP == http.StatusBadRequest && e.Message == "Transaction has been fully reversed"
	case billing.ErrGatewayRefused:
		return e.refused()
	}
	return false
}

// refused is about the request. That our key isn't accepted, or that something in between answers in Paystack's place (it has no
// message), is nothing that the customer could mend.
func (e *apiError) refused() bool {
	switch e.HTTP {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return e.HTTP >= 400 && e.HTTP < 500 && e.Message != ""
}

// notFound: observed as 400 with a code, described as 404. A 404 that isn't Paystack's own has no message (a proxy's page) or one about
// something else (a router's: "no Route matched …", "Route not found", "Not Found"); taking that for "never charged" would charge again.
func (e *apiError) notFound() bool {
	if e.Code == "transaction_not_found" {
		return true
	}
	if e.HTTP == http.StatusNotFound {
		text := strings.ToLower(e.Message)
		return strings.Contains(text, "not found") && (strings.Contains(text, "transaction") || strings.Contains(text, "reference"))
	}
	return e.HTTP == http.StatusBadRequest && e.Message == "Transaction reference not found."
}

// authorizationUnusable has only the texts to go by, as no code is documented.
func (e *apiError) authorizationUnusable() bool {
	if e.HTTP != http.StatusBadRequest && e.HTTP != http.StatusNotFound {
		return false
	}
	return strings.HasPrefix(e.Message, "Authorization code is invalid") ||
		strings.HasPrefix(e.Message, "Email does not match Authorization code") || strings.HasPrefix(e.Message, "Authorization code not found")
}

// isNotFound is about an object that is asked for by Paystack's own id; a 404 that isn't Paystack's own has no message.
func isNotFound(err error) bool {
	var e *apiError
	return errors.As(err, &e) && e.HTTP == http.StatusNotFound && e.Message != ""
}
