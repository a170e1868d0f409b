package accounts

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"golang.org/x/text/unicode/norm"

	"controlplane/internal/errs"
	"controlplane/internal/secrets"
)

const (
	minPassword      = 8
	maxPassword      = 100
	maxPasswordBytes = 8 * maxPassword // bounds the work before anything is counted
	passwordSpecials = `!@#$%^&*(),.?":{}|<>`
	maxHashWait      = 10 * time.Second
)

// cleanPassword returns password as it is hashed: NFC, so that it doesn't matter how a keyboard composes an accent. Nothing is trimmed or
// cut off.
func cleanPassword(field string, password secrets.Secret) (secrets.Secret, error) {
	bad := func(code, message string) (secrets.Secret, error) { return "", errs.InvalidField(field, code, message) }
	text, ok := hashable(password)
	if n := utf8.RuneCountInString(text); !ok || n < minPassword || n > maxPassword {
		return bad("length", "The password must have 8 to 100 characters.")
	}
	var upper, lower, digit, special bool
	for _, r := range text {
		if unicode.IsControl(r) {
			return bad("characters", "The password can't hold control characters.")
		}
		upper = upper || unicode.IsUpper(r)
		lower = lower || unicode.IsLower(r)
		digit = digit || unicode.IsDigit(r)
		special = special || strings.ContainsRune(passwordSpecials, r)
	}
	if !upper || !lower || !digit || !special {
		return bad("weak", "The password must have an upper-case letter, a lower-case letter, a digit and one of "+passwordSpecials)
	}
	return secrets.Secret(text), nil
}

// hashable returns the form of a given password that is hashed, and false for what can't be anybody's password.
func hashable(password secrets.Secret) (string, bool) {
	text := password.Reveal()
	if len(text) > maxPasswordBytes || !utf8.ValidString(text) {
		return "", false
	}
	return norm.NFC.String(text), true
}

// NewPassword returns a random password (over 110 bits) that meets the password rule.
func NewPassword() secrets.Secret {
	for {
		candidate := secrets.Secret(secrets.RandomPassword(10).Reveal() + "!" + secrets.RandomPassword(10).Reveal())
		if clean, err := cleanPassword("password", candidate); err == nil {
			return clean
		}
	}
}

// hasher hashes passwords with Argon2id and bounds how many are hashed at once: each takes 19 MiB, so fifty log-ins at the same
// moment would else take a gigabyte.
type hasher struct {
	params *argon2id.Params
	slots  chan struct{}
	dummy  string       // a hash of no password, compared with when there is no account
	hashed atomic.Int64 // how many hashes were computed, for tests that time is not leaked
}

func newHasher() (*hasher, error) {
	h := &hasher{
		// The first recommendation of OWASP's password storage cheat sheet: about 20 ms of one core.
		params: &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32},
		slots:  make(chan struct{}, max(2, runtime.GOMAXPROCS(0))),
	}
	dummy, err := h.hash(context.Background(), secrets.RandomPassword(32))
	if err != nil {
		return nil, err
	}
	h.dummy = dummy
	return h, nil
}

func (h *hasher) hash(ctx context.Context, password secrets.Secret) (string, error) {
	if err := h.acquire(ctx); err != nil {
		return "", err
	}
	defer h.release()
	hash, err := argon2id.CreateHash(password.Reveal(), h.params)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// matches compares in the same time whether or not there is an account: an empty stored hash stands for none and never matches.
func (h *hasher) matches(ctx context.Context, password secrets.Secret, stored string) (bool, error) {
	text, ok := hashable(password)
	known := stored != ""
	if !known {
		stored = h.dummy
	}
	if err := h.acquire(ctx); err != nil {
		return false, err
	}
	defer h.release()
	match, err := argon2id.ComparePasswordAndHash(text, stored)
	if err != nil {
		return false, fmt.Errorf("compare a password: %w", err)
	}
	return match && ok && known, nil
}

func (h *hasher) acquire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, maxHashWait)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		h.hashed.Add(1)
		return nil
	case <-ctx.Done():
		return ErrUnavailable.WithCause(fmt.Errorf("wait to hash a password: %w", ctx.Err())).WithRetryAfter(retryUnavailable)
	}
}

func (h *hasher) release() { <-h.slots }
