package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"controlplane/internal/backup/archive"
	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

// copying is one attempt at the parts of a backup.
type copying struct {
	*Worker
	run    *ops.Run
	backup Backup
	tenant tenants.Tenant
	access Access
	disk   tenants.Disk
	m      archive.Manifest
	all    *passed
}

func attemptKey(prefix, object string) string {
	var salt [4]byte
	_, _ = rand.Read(salt[:]) // never fails
	return prefix + hex.EncodeToString(salt[:]) + "." + object
}

// copyAll copies files and database side by side, and what one of them lacks of the other then: Odoo writes a file before it commits the
// attachment, and removes none but those that nothing has needed for long. Whether that was enough is checked, not hoped for.
func (c *copying) copyAll(ctx context.Context) error {
	mount := helperName(c.backup, "files")
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := c.volumes.RemoveContainer(ctx, mount); err != nil {
			c.log.Warn("a backup's container stays behind", "container", mount, "error", err)
		}
	}()
	_, dir := c.opts.Filestore(c.tenant)
	tree := tree{volumes: c.volumes, mount: mount, root: dir}
	key := attemptKey(c.backup.KeyPrefix, archive.FilestoreObject)
	return c.upload(ctx, key, c.disk.FilestoreBytes, func(ctx context.Context, out io.Writer) error {
		files, err := c.keys.NewFilesWriter(out)
		if err != nil {
			return err
		}
		defer files.Discard()
		if err := c.copyBoth(ctx, files, tree); err != nil {
			return err
		}
		done, err := files.Close()
		if err != nil {
			return err
		}
		done.Object = strings.TrimPrefix(key, c.backup.KeyPrefix)
		c.m.Filestore = &done
		return nil
	})
}

// copyBoth copies the database again if Odoo removed a file while it was copied: what is then needed is there, as all files are copied by
// then but those that came last.
func (c *copying) copyBoth(ctx context.Context, files *archive.FilesWriter, tree tree) error {
	var missing error
	check := func(ctx context.Context, s Snapshot) error {
		missing = addLate(ctx, s, files, tree)
		if errors.Is(missing, ErrFilesMissing) {
			return nil
		}
		return missing
	}
	copied := make(chan struct{})
	err := sideBySide(ctx, func(ctx context.Context) error {
		if err := c.copyFiles(ctx, files, tree); err != nil {
			return err
		}
		c.run.Note(ctx, "The files are copied")
		close(copied)
		return nil
	}, func(ctx context.Context) error {
		return c.copyDatabase(ctx, func(ctx context.Context, s Snapshot) error {
			select {
			case <-copied:
				return check(ctx, s)
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	if err != nil || missing == nil {
		return err
	}
	c.run.Note(ctx, "A file is missing that the database needed when it was copied; the database is copied again")
	if err := c.copyDatabase(ctx, check); err != nil {
		return err
	}
	return missing
}

// copyFiles copies the files that there are.
func (c *copying) copyFiles(ctx context.Context, files *archive.FilesWriter, from tree) error {
	volume, _ := c.opts.Filestore(c.tenant)
	if err := c.volumes.MountVolume(ctx, from.mount, volume, c.access.TenantID.String(), c.opts.Image, true); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return ErrVolumeGone.WithCause(err)
		}
		return fmt.Errorf("mount the filestore: %w", err)
	}
	if err := from.add(ctx, files, "", c.all); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyDatabase dumps a snapshot, and has check look at the same one.
func (c *copying) copyDatabase(ctx context.Context, check func(ctx context.Context, s Snapshot) error) error {
	snapshot, err := c.database.Snapshot(ctx, c.access)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	if c.m.Database, c.m.TakenAt, err = snapshot.Describe(ctx); err != nil {
		return err
	}
	c.m.Dump, err = c.uploadDump(ctx, c.backup.KeyPrefix, archive.DatabaseObject, snapshot, c.disk.DatabaseBytes, c.all)
	if err != nil {
		return err
	}
	c.run.Note(ctx, "The database is copied")
	return check(ctx, snapshot)
}
