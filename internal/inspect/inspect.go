// Package inspect lets a process that has only the api role ask a worker what runs, and for downloads: an HTTP server beside the worker, and a
// client with the same methods as what it stands for. Both know SECRET_KEY, so the bearer is derived from it.
package inspect

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"controlplane/internal/errs"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// Inspector looks at what runs.
type Inspector interface {
	Stats(ctx context.Context, t tenants.Tenant) (tenants.Stats, error)
	// Logs calls line for each line, oldest first, and ends with its first error.
	Logs(ctx context.Context, t tenants.Tenant, q tenants.LogQuery, line func(tenants.LogLine) error) error
}

// ErrUnreachable is returned when no worker answers; the cause says why.
var ErrUnreachable = errs.New(errs.Unavailable, "no_worker", "That can't be looked up at the moment: no worker is reachable.")

// Token derives the bearer that workers demand. Whoever has it can't tell SECRET_KEY, and what SECRET_KEY signs isn't signed by it.
func Token(secretKey secrets.Secret) (secrets.Secret, error) {
	raw, err := hkdf.Key(sha256.New, []byte(secretKey.Reveal()), nil, "odoo-hosting worker inspector v1", 32)
	if err != nil {
		return "", fmt.Errorf("derive the worker's token: %w", err)
	}
	return secrets.Secret(hex.EncodeToString(raw)), nil
}

// failure is an error on the wire. Only what may be shown to anybody is in it.
type failure struct {
	Kind    string `json:"kind"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// item is one line of the answer about a log: a line of it, or how it ended.
type item struct {
	Line    *tenants.LogLine `json:"line,omitempty"`
	Failure *failure         `json:"failure,omitempty"`
	End     bool             `json:"end,omitempty"`
}

// asError makes the error that the worker had.
func (f failure) asError() error {
	for kind := errs.Internal; kind <= errs.Unavailable; kind++ {
		if kind.String() == f.Kind {
			return errs.New(kind, f.Code, f.Message).WithCause(fmt.Errorf("the worker answered %s", f.Code))
		}
	}
	return ErrUnreachable.WithCause(fmt.Errorf("the worker answered an unknown kind of error, %q", f.Kind))
}
