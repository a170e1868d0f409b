package secrets

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Errors of sealing. Neither shows any part of a key or of the sealed value.
var (
	ErrUnknownKey = errors.New("sealed with a key that is not in DATA_KEY")
	ErrTampered   = errors.New("sealed value is damaged or belongs to another row")
)

const minKeyBytes = 32

// Sealer seals values at rest with AES-256-GCM. It seals with the first key of its ring and opens with any of them, so that
// a new key can be put in front and the values be re-sealed (controlplane admin rekey) before the old one is dropped.
type Sealer struct {
	order []string
	keys  map[string]cipher.AEAD
}

// NewSealer parses DATA_KEY: comma-separated keys of at least 32 bytes each, the first one seals. A key's id is the first
// 8 hex digits of its SHA-256, so nobody has to name keys.
func NewSealer(dataKey Secret) (*Sealer, error) {
	s := &Sealer{keys: map[string]cipher.AEAD{}}
	for part := range strings.SplitSeq(dataKey.Reveal(), ",") {
		part = strings.TrimSpace(part)
		if len(part) < minKeyBytes {
			return nil, fmt.Errorf("a data key is shorter than %d bytes", minKeyBytes)
		}
		key := sha256.Sum256([]byte("odoo-hosting data key\x00" + part))
		idSum := sha256.Sum256(key[:])
		id := hex.EncodeToString(idSum[:4])
		block, err := aes.NewCipher(key[:])
		if err != nil {
			return nil, fmt.Errorf("set up data key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("set up data key: %w", err)
		}
		s.order = append(s.order, id)
		s.keys[id] = aead
	}
	return s, nil
}

// KeyID returns the id of the key that seals now.
func (s *Sealer) KeyID() string { return s.order[0] }

// Sealed is a sealed value as stored: "<key id>:" and nonce plus ciphertext.
type Sealed []byte

// KeyID returns the id of the key that v was sealed with, or "" if v isn't a sealed value.
func (v Sealed) KeyID() string {
	if len(v) < 9 || v[8] != ':' {
		return ""
	}
	return string(v[:8])
}

// Seal seals plain for the place named by context ("tenants.db_password/42"); Open must be told the same, so that a sealed
// value can't be moved to another row or column.
func (s *Sealer) Seal(plain Secret, context string) Sealed {
	id := s.KeyID()
	aead := s.keys[id]
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce) // never fails
	out := append([]byte(id+":"), nonce...)
	return aead.Seal(out, nonce, []byte(plain), []byte(context))
}

// Open returns what was sealed. Errors: ErrUnknownKey, ErrTampered.
func (s *Sealer) Open(v Sealed, context string) (Secret, error) {
	aead, ok := s.keys[v.KeyID()]
	if !ok {
		return "", ErrUnknownKey
	}
	body := v[9:]
	if len(body) < aead.NonceSize() {
		return "", ErrTampered
	}
	plain, err := aead.Open(nil, body[:aead.NonceSize()], body[aead.NonceSize():], []byte(context))
	if err != nil {
		return "", ErrTampered
	}
	return Secret(plain), nil
}
