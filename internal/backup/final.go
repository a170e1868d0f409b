package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/errs"
	"controlplane/internal/tenants"
)

// finalRetry is how long after a final backup that failed the next is asked for.
const finalRetry = 5 * time.Minute

// ErrFinalFailed is what a deletion waits with when its final backup failed.
var ErrFinalFailed = errs.New(errs.Unavailable, "final_backup_failed", "The final backup couldn't be taken.")

// EnsureFinal sees to the final backup of a tenant that is being deleted, and reports whether it is there: read back whole, that is. It
// waits for nothing; a repeat looks at the one that was asked for, and asks anew a while after that failed.
// Errors: ErrFinalFailed, ErrNothingThere.
func (s *Service) EnsureFinal(ctx context.Context, id tenants.ID) (done bool, err error) {
	b, err := one(ctx, s.pool, "look for the final backup of tenant "+id.String(),
		"SELECT "+columns+" FROM backups b WHERE b.tenant_id = $1 AND b.kind = 'final' ORDER BY b.id DESC LIMIT 1", id)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil:
		return false, err
	case b.Good():
		return true, nil
	case b.State == Queued || b.State == Running:
		return false, nil
	case b.State == Failed && b.FinishedAt != nil && s.now().Sub(*b.FinishedAt) < finalRetry:
		return false, ErrFinalFailed.WithCause(fmt.Errorf("backup %s: %s", b.ID, b.Error))
	}
	_, err = s.Take(ctx, TakeInput{TenantID: id, Kind: Final, By: accounts.System().Username})
	if errors.Is(err, ErrBusy) { // another one was begun before the deletion, and will end
		return false, nil
	}
	return false, err
}
