package provision

import (
	"errors"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
)

// holdIfForeign makes an error that no repetition cures hold the operation at once: somebody else's object has our name.
func holdIfForeign(err error) error {
	if errors.Is(err, ErrForeign) {
		return ops.Permanent(err)
	}
	return err
}

// ownersReason is what the owner of a client that couldn't be set up reads.
func ownersReason(cause error) string {
	var e *errs.Error
	if errors.As(cause, &e) && e.Message != "" {
		return e.Message
	}
	return "Something went wrong on our side while setting up your Odoo; our staff have been told."
}
