// Package archive is the format of a backup, apart from where it is kept: parts that are compressed and encrypted as they stream by, and a
// manifest that says what each part must turn out to be. What it writes can be read with zstd and age alone, given the passphrase that
// Keys makes of BACKUP_KEY.
package archive

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"

	"controlplane/internal/secrets"
)

const (
	minKeyBytes = 32
	// workFactor is low since the passphrase isn't guessable: it is as random as the key.
	workFactor = 10
	// label keeps the passphrase apart from other uses of the same key.
	label = "odoo-hosting backup v1"
)

// Keys is a ring of keys: what is written is for the first, what is read may be for any.
type Keys struct {
	recipient  age.Recipient
	identities []age.Identity
}

// NewKeys parses comma-separated keys of at least 32 bytes each.
func NewKeys(ring secrets.Secret) (*Keys, error) {
	k := &Keys{}
	for part := range strings.SplitSeq(ring.Reveal(), ",") {
		part = strings.TrimSpace(part)
		if len(part) < minKeyBytes {
			return nil, fmt.Errorf("a backup key is shorter than %d bytes", minKeyBytes)
		}
		passphrase, err := Passphrase(secrets.Secret(part))
		if err != nil {
			return nil, err
		}
		identity, err := age.NewScryptIdentity(passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("set up a backup key: %w", err)
		}
		identity.SetMaxWorkFactor(workFactor) // what asks for more isn't ours, and would keep us busy
		k.identities = append(k.identities, identity)
		if k.recipient != nil {
			continue
		}
		recipient, err := age.NewScryptRecipient(passphrase.Reveal())
		if err != nil {
			return nil, fmt.Errorf("set up a backup key: %w", err)
		}
		recipient.SetWorkFactor(workFactor)
		k.recipient = recipient
	}
	return k, nil
}

// Passphrase is what age is to be given to read what was written with this key, where this program is not at hand.
func Passphrase(key secrets.Secret) (secrets.Secret, error) {
	raw, err := hkdf.Key(sha256.New, []byte(key.Reveal()), nil, label, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive a passphrase: %w", err)
	}
	return secrets.Secret(hex.EncodeToString(raw)), nil
}

func (k *Keys) encrypt(w io.Writer) (io.WriteCloser, error) {
	out, err := age.Encrypt(w, k.recipient)
	if err != nil {
		return nil, fmt.Errorf("begin to encrypt: %w", err)
	}
	return out, nil
}

// decrypt tells a wrong key from a damaged header, as far as age does.
func (k *Keys) decrypt(r io.Reader) (io.Reader, error) {
	out, err := age.Decrypt(r, k.identities...)
	var noMatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &noMatch):
		return nil, ErrWrongKey.WithCause(err)
	case err != nil:
		return nil, fmt.Errorf("begin to decrypt: %w", err)
	}
	return out, nil
}
