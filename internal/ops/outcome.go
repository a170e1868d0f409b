package ops

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"controlplane/internal/errs"
)

// What an owner reads when an error has no text that is safe to show.
const (
	textTrying = "Something went wrong on our side; we are trying again."
	textHeld   = "Something went wrong on our side; we are looking into it."
)

// Texts are cut to what a person would read; PostgreSQL and the log needn't store a container's whole output.
const (
	maxMessageBytes = 1000
	maxDetailBytes  = 8000
)

type permanentError struct{ err error }

func (p *permanentError) Error() string { return p.err.Error() }
func (p *permanentError) Unwrap() error { return p.err }

type outageError struct{ err error }

func (o *outageError) Error() string { return o.err.Error() }
func (o *outageError) Unwrap() error { return o.err }

type unwindError struct{ err error }

func (u *unwindError) Error() string { return u.err.Error() }
func (u *unwindError) Unwrap() error { return u.err }

type snoozeError struct{ after time.Duration }

func (s *snoozeError) Error() string { return "snooze for " + s.after.String() }

// Permanent marks an error that no repetition can cure: the operation is held at once and nothing is undone.
func Permanent(err error) error { return &permanentError{err: err} }

// Outage marks an error that ends by itself when something that we depend on is back. The step is tried again as after any other, but
// never held for having been tried too often: its last attempt goes on.
func Outage(err error) error { return &outageError{err: err} }

// Unwind marks an error after which the steps done so far, this one included, are undone, last first; then the operation is
// abandoned. An Undo that keeps failing holds it.
func Unwind(err error) error { return &unwindError{err: err} }

// Snooze is returned by a step that has to wait: it is called again after d or a little later, and no attempt is counted. What it
// put into the Run's data is kept. For waits of a few seconds poll inside the step instead.
func Snooze(d time.Duration) error { return &snoozeError{after: max(d, 0)} }

// panicError is a step's panic, told like any other failure.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.value, p.stack) }

// safeText is what the owner may read of err, which is otherwise when nothing in it is meant for them.
func safeText(err error, otherwise string) string {
	var e *errs.Error
	if errors.As(err, &e) && e.Message != "" {
		return clean(e.Message, maxMessageBytes)
	}
	return otherwise
}

// clean makes s fit for a text column, which takes neither NUL nor broken UTF-8, and cuts it.
func clean(s string, maxBytes int) string {
	if len(s) > maxBytes {
		s = s[:maxBytes] + "…"
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, ""), "\x00", "")
}

// defaultBackoff doubles from a second to five minutes; a fifth of jitter keeps what failed together from coming back together.
func defaultBackoff(attempt int) time.Duration {
	const first, longest = time.Second, 5 * time.Minute
	wait := longest
	if shift := max(attempt, 1) - 1; shift < 9 {
		wait = min(first<<shift, longest)
	}
	return wait*4/5 + rand.N(wait*2/5) //nolint:gosec // jitter, not a secret
}
