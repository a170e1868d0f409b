package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"controlplane/internal/backup/retention"
)

// PlatformOwner begins what stands where a client's name does in the store for platforms' own databases; an installation's id follows, since
// several may share a bucket. No client can be called so.
const PlatformOwner = "_platform"

// Platform keeps the platform's own database beside the clients': without rows, since those would be lost with it.
type Platform struct {
	Vault        *Vault
	Installation string // whose database it is; only its own backups are ever let go of
	Dump         func(ctx context.Context, w io.Writer) error
	Zone         *time.Location // whose days they are
	Now          func() time.Time
}

func (p Platform) owner() string { return PlatformOwner + "_" + p.Installation }

// Take stores a backup, reads it back, and lets go of what nobody needs any more. What failed leaves nothing.
func (p Platform) Take(ctx context.Context) error {
	if _, err := p.Vault.Keep(ctx, p.owner(), p.Now(), p.Dump); err != nil {
		return fmt.Errorf("back up the platform's database: %w", err)
	}
	return p.prune(ctx)
}

// prune keeps as many as a client without a rule of its own has. No mark is stored: the oldest of a week or month is always the same one,
// as long as it is there.
func (p Platform) prune(ctx context.Context) error {
	list, err := p.Vault.List(ctx, p.owner())
	if err != nil {
		return err
	}
	copies := make([]retention.Copy, 0, len(list))
	for i, s := range list {
		copies = append(copies, retention.Copy{ID: int64(i), TakenAt: s.At, Daily: true, Full: s.Complete, Good: s.Complete})
	}
	var failures []error
	for _, i := range retention.Make(retention.Default(), copies, p.Now(), p.Zone).Expired {
		failures = append(failures, p.Vault.Remove(ctx, list[i].Name))
	}
	return errors.Join(failures...)
}
