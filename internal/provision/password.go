package provision

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"

	"controlplane/internal/secrets"
)

// passwordRounds is the least that Odoo 19 accepts without hashing again at the first login (MIN_ROUNDS of res.users).
const passwordRounds = 600_000

// HashPassword hashes as Odoo does: PBKDF2-SHA-512 in passlib's format. It takes about half a second of one core, on purpose.
func HashPassword(password secrets.Secret) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	return hashWithSalt(password, salt, passwordRounds)
}

func hashWithSalt(password secrets.Secret, salt []byte, rounds int) (string, error) {
	sum, err := pbkdf2.Key(sha512.New, password.Reveal(), salt, rounds, sha512.Size)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return fmt.Sprintf("$pbkdf2-sha512$%d$%s$%s", rounds, ab64(salt), ab64(sum)), nil
}

// ab64 is passlib's "adapted base64": no padding, and a dot for the plus sign.
func ab64(b []byte) string {
	return strings.ReplaceAll(base64.RawStdEncoding.EncodeToString(b), "+", ".")
}
