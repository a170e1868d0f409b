package pgcluster

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"controlplane/internal/secrets"
)

const scramRounds = 4096 // PostgreSQL's own default; our passwords are random, so more would protect nothing

// scramVerifier is what the server stores for a password. Sending it in the password's place keeps the password out of the server's
// log and statistics. It can't be used to log in.
func scramVerifier(password secrets.Secret) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	return scramWithSalt(password, salt, scramRounds)
}

func scramWithSalt(password secrets.Secret, salt []byte, rounds int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password.Reveal(), salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a SCRAM verifier: %w", err)
	}
	storedKey := sha256.Sum256(sign(salted, "Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", rounds, encode(salt), encode(storedKey[:]), encode(sign(salted, "Server Key"))), nil
}

func sign(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
