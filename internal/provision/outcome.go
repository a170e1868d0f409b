package provision

import (
	"errors"

	"controlplane/internal/errs"
	"controlplane/internal/ops"
)

// outcome tells the operation what follows from an error of the engine or of the database server. Somebody else's object with our name
// is cured by no repetition and holds it at once; either of the two being away is waited out, however long it takes.
func outcome(err error) error {
	switch {
	case errors.Is(err, ErrForeign):
		return ops.Permanent(err)
	case errs.KindOf(err) == errs.Unavailable:
		return ops.Outage(err)
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
