package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/backup/archive"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// VerifyWorkflow looks at all of a backup again. That it is damaged is an answer, not a failure: it is on the backup, and an alert. What
// says more of how we are set up than of the backup, as a wrong key, bucket or release does, is told too, and tried again until it is right.
func (w *Worker) VerifyWorkflow() ops.Workflow {
	return ops.Workflow{Kind: VerifyKind, Steps: []ops.Step{{Name: "read back", Timeout: readTimeout, Do: w.look, Tx: w.looked}}}
}

func (w *Worker) look(ctx context.Context, r *ops.Run) error {
	b, err := w.of(ctx, r)
	if err != nil {
		return err
	}
	if b.State != Done {
		return ops.Permanent(ErrNotGood.WithCause(fmt.Errorf("backup %s is %s", b.ID, b.State)))
	}
	leave, ok := w.lanes.enter(laneLooks, 0)
	if !ok {
		return ops.Snooze(slotWait)
	}
	defer leave()
	text, err := manifestOf(ctx, w.pool, b.ID)
	if err != nil {
		return err
	}
	written, err := decodeManifest(text)
	if err != nil {
		return err
	}
	err = w.prove(ctx, b, written)
	if err == nil {
		return nil
	}
	damaged := errors.Is(err, archive.ErrDamaged)
	if errors.Is(err, ErrObjectMissing) {
		var storeErr error
		if damaged, storeErr = w.rightStore(ctx, b); storeErr != nil {
			return ops.Outage(fmt.Errorf("verify backup %s: %w", b.ID, errors.Join(err, storeErr)))
		}
	}
	if damaged {
		w.log.Error("a backup is damaged", "backup", b.ID, "error", err)
		return r.Set("found", safeText(err))
	}
	return ops.Outage(fmt.Errorf("verify backup %s: %w", b.ID, errors.Join(err, w.tellUnread(ctx, b, err))))
}

// knownOthers is how many other backups are looked for to know the bucket again.
const knownOthers = 5

// rightStore reports whether the bucket, of which b or a part of b is missing, is the one that b was stored in: there is some of b, or of one
// that was taken before. What was taken since proves nothing, since it lies wherever we were sent.
func (w *Worker) rightStore(ctx context.Context, b Backup) (bool, error) {
	rows, err := w.pool.Query(ctx, `SELECT key_prefix FROM backups WHERE id = $1 UNION ALL
		(SELECT key_prefix FROM backups WHERE id < $1 AND state = 'done' AND broken_at IS NULL ORDER BY id DESC LIMIT $2)`, b.ID, knownOthers)
	if err != nil {
		return false, fmt.Errorf("look for other backups: %w", err)
	}
	prefixes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return false, fmt.Errorf("look for other backups: %w", err)
	}
	found := false
	for _, prefix := range prefixes {
		err := w.store.List(ctx, prefix, func(Object) error { found = true; return nil })
		if err != nil || found {
			return found, err
		}
	}
	return false, nil
}

// tellUnread tells operators of a backup that can't be read as we are set up. The next look at it that succeeds takes it back.
func (w *Worker) tellUnread(ctx context.Context, b Backup, err error) error {
	if !errors.Is(err, archive.ErrWrongKey) && !errors.Is(err, archive.ErrNewer) && !errors.Is(err, ErrObjectMissing) {
		return nil
	}
	return alerts.Raise(ctx, w.pool, alerts.Alert{
		Kind: alertBroken, Subject: b.ID.Subject(),
		Message: fmt.Sprintf("The %s backup %s of %s can't be read with this key, bucket and release: %v", b.Kind, b.ID, b.TenantName, err),
	})
}

func (w *Worker) looked(ctx context.Context, tx pgx.Tx, r *ops.Run) error {
	var in input
	if err := r.Input(&in); err != nil {
		return err
	}
	var found string
	if _, err := r.Get("found", &found); err != nil {
		return err
	}
	if found != "" {
		return w.tellDamaged(ctx, tx, in.BackupID, found)
	}
	b, err := setVerified(ctx, tx, in.BackupID, "", w.now())
	if err != nil {
		return err
	}
	return alerts.Resolve(ctx, tx, alertBroken, b.ID.Subject())
}

// tellDamaged notes that a backup doesn't count any more.
func (w *Worker) tellDamaged(ctx context.Context, q postgres.Querier, id ID, found string) error {
	b, err := setVerified(ctx, q, id, found, w.now())
	if err != nil {
		return err
	}
	return alerts.Raise(ctx, q, alerts.Alert{
		Kind: alertBroken, Subject: b.ID.Subject(),
		Message: fmt.Sprintf("The %s backup %s of %s can't be used any more: %s", b.Kind, b.ID, b.TenantName, found),
	})
}

// prove reads all of a backup back from the store and compares it with what was written. Errors: archive.ErrDamaged, archive.ErrWrongKey,
// ErrObjectMissing, and the store's.
func (w *Worker) prove(ctx context.Context, b Backup, written archive.Manifest) error {
	stored, err := w.readManifest(ctx, b.KeyPrefix)
	if err != nil {
		return err
	}
	if !sameManifest(stored, written) {
		return archive.ErrDamaged.WithCause(errors.New("the stored manifest is another one"))
	}
	return sideBySide(ctx, func(ctx context.Context) error {
		err := w.read(ctx, b.KeyPrefix+stored.Dump.Object, stored.Dump, func(content io.Reader) error {
			_, err := io.Copy(io.Discard, content)
			return err
		})
		if err != nil {
			return fmt.Errorf("read the dump back: %w", err)
		}
		return nil
	}, func(ctx context.Context) error {
		if stored.Filestore == nil {
			return nil
		}
		err := w.read(ctx, b.KeyPrefix+stored.Filestore.Object, stored.Filestore.Part, func(content io.Reader) error {
			return checkFiles(content, *stored.Filestore)
		})
		if err != nil {
			return fmt.Errorf("read the filestore back: %w", err)
		}
		return nil
	})
}

func (w *Worker) readManifest(ctx context.Context, prefix string) (archive.Manifest, error) {
	in, err := w.store.Get(ctx, prefix+archive.ManifestObject)
	if err != nil {
		return archive.Manifest{}, err
	}
	defer func() { _ = in.Close() }()
	return w.keys.ReadManifest(in, prefix)
}

// sameManifest compares moments, not the zones that they are told in.
func sameManifest(a, b archive.Manifest) bool {
	if !a.TakenAt.Equal(b.TakenAt) {
		return false
	}
	a.TakenAt = b.TakenAt
	return reflect.DeepEqual(a, b)
}

// checkFiles counts the files. That each is what its name says was seen when it was copied, and that the archive is the same its hash tells.
func checkFiles(content io.Reader, want archive.Files) error {
	var count int64
	err := archive.EachFile(content, func(*tar.Header, io.Reader) error {
		count++
		return nil
	})
	if err == nil && count < want.Count {
		err = archive.ErrDamaged.WithCause(fmt.Errorf("there are %d files, not %d", count, want.Count))
	}
	return err
}
