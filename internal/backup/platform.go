package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"controlplane/internal/alerts"
	"controlplane/internal/backup/retention"
	"controlplane/internal/postgres"
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
	Alerts       postgres.Querier // where Watch tells of their age
}

// alertPlatform is raised while the platform's own database has no backup that is fresh enough.
const (
	alertPlatform   = "backup.platform_overdue"
	platformSubject = "platform"
	platformOverdue = 4 * time.Hour // one is taken every hour
)

// Watch tells operators when the newest backup in the store is too old, or can't be seen; since is when there first could be one. What counts
// is what lies there, not whether Take says that it is done.
func (p Platform) Watch(ctx context.Context, since time.Time) error {
	list, err := p.Vault.List(ctx, p.owner())
	message := ""
	if err != nil {
		message = "It can't be seen whether the platform's own database has a fresh backup: the backup store doesn't answer."
	} else if age := p.Now().Sub(newest(list, since)); age >= platformOverdue {
		message = fmt.Sprintf("The newest backup of the platform's own database is %s old; one is taken every hour.", age.Round(time.Minute))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // a store that took all the time is worth telling of
	defer cancel()
	if message == "" {
		return alerts.Resolve(ctx, p.Alerts, alertPlatform, platformSubject)
	}
	return errors.Join(err, alerts.Raise(ctx, p.Alerts, alerts.Alert{Kind: alertPlatform, Subject: platformSubject, Message: message}))
}

func newest(list []Stored, since time.Time) time.Time {
	for _, s := range list {
		if s.Complete && s.At.After(since) {
			since = s.At
		}
	}
	return since
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
