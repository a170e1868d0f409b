// Package secrets keeps secrets out of sight: a string type that prints as [redacted], random values, and sealing with DATA_KEY
// for what has to be stored. Hashing of account passwords is in accounts.
package secrets

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"log/slog"
	"math/big"
)

const redacted = "[redacted]"

// Secret is a string that doesn't show itself in logs, errors, fmt verbs or JSON. Reveal returns it.
type Secret string

// String returns "[redacted]", or "" for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from showing the secret.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps slog from showing the secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps JSON and other encoders from showing the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Reveal returns the secret itself; call it only where it leaves for its destination.
func (s Secret) Reveal() string { return string(s) }

// Equal compares in constant time (but for the length).
func (s Secret) Equal(other string) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(other)) == 1
}

const passwordAlphabet = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"

// RandomPassword returns length characters of an alphabet without look-alikes that needs no quoting in shells, URLs or config files
// (5.8 bits each).
func RandomPassword(length int) Secret {
	out := make([]byte, length)
	for i := range out {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(passwordAlphabet))))
		if err != nil { // crypto/rand never fails on Linux
			panic(err)
		}
		out[i] = passwordAlphabet[n.Int64()]
	}
	return Secret(out)
}

// RandomHex returns n random bytes as lower-case hex.
func RandomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
