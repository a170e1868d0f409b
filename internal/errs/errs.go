// Package errs holds the one error type that crosses our layers: a coarse Kind, a stable code and a message that is safe to show.
// It knows nothing of HTTP: internal/api maps kinds to statuses.
package errs

import (
	"errors"
	"fmt"
	"time"
)

// Kind is the coarse class of an error; the API maps each kind to one HTTP status.
type Kind int

// The kinds, in the order of the table in docs/architecture.md.
const (
	Internal        Kind = iota // a fault of ours: 500
	Malformed                   // the request can't be read: 400
	Invalid                     // it can be read, but a value is not acceptable: 422
	Unauthenticated             // no or no valid credentials: 401
	PaymentRequired             // a payment is due first: 402
	Forbidden                   // the caller may know it exists, but not do this: 403
	NotFound                    // it doesn't exist, or is someone else's: 404
	Conflict                    // it doesn't fit the present state: 409
	Gone                        // it was here once and can't be had again: 410
	TooLarge                    // the body is over its limit: 413
	RateLimited                 // too many: 429 with Retry-After
	NotImplemented              // the route is reserved for a later release: 501
	Unavailable                 // something we need is down: 503 with Retry-After
)

var kindNames = map[Kind]string{ //nolint:gochecknoglobals // a constant table
	Internal: "internal", Malformed: "malformed", Invalid: "invalid", Unauthenticated: "unauthenticated",
	PaymentRequired: "payment_required", Forbidden: "forbidden", NotFound: "not_found", Conflict: "conflict", Gone: "gone",
	TooLarge: "too_large", RateLimited: "rate_limited", NotImplemented: "not_implemented", Unavailable: "unavailable",
}

// String returns the kind's name in snake_case.
func (k Kind) String() string { return kindNames[k] }

// Field is what is wrong with one field of a request.
type Field struct {
	Name    string // as on the wire, "plan" or "address.city"
	Code    string // stable, snake_case
	Message string // safe to show
}

// Error is an error whose Message may be shown to the caller; its cause may only be logged.
type Error struct {
	Kind       Kind
	Code       string // stable, snake_case
	Message    string // a sentence for people
	Fields     []Field
	RetryAfter time.Duration // zero: unknown
	cause      error
}

// New returns an error to be kept in a package variable.
func New(kind Kind, code, message string) *Error {
	return &Error{Kind: kind, Code: code, Message: message}
}

// Newf is New with a formatted message, for errors that quote a value of the request.
func Newf(kind Kind, code, format string, args ...any) *Error {
	return New(kind, code, fmt.Sprintf(format, args...))
}

// InvalidField returns an Invalid error about one field; the message is used for both.
func InvalidField(name, code, message string) *Error {
	return &Error{Kind: Invalid, Code: "invalid_" + name, Message: message, Fields: []Field{{Name: name, Code: code, Message: message}}}
}

// Error includes the cause, so it is for logs only.
func (e *Error) Error() string {
	if e.cause == nil {
		return e.Code + ": " + e.Message
	}
	return e.Code + ": " + e.cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is makes errors.Is compare kind and code, so that a copy made by WithCause still matches its sentinel.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Kind == e.Kind && t.Code == e.Code
}

// WithCause returns a copy that wraps cause.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.cause = cause
	return &c
}

// WithMessage returns a copy with another message for people.
func (e *Error) WithMessage(format string, args ...any) *Error {
	c := *e
	c.Message = fmt.Sprintf(format, args...)
	return &c
}

// WithRetryAfter returns a copy that tells when to try again.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// KindOf returns the kind of the first Error in err's chain, or Internal.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}
