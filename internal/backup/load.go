package backup

import (
	"archive/tar"
	"context"
	"crypto/sha1" //nolint:gosec // it is how Odoo names its files
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"controlplane/internal/backup/archive"
)

// place is where a backup is loaded: an empty database and a volume that nobody uses yet. Whose they are is the caller's business: the
// client's own, beside what runs, another client's, or a sandbox's.
type place struct {
	// access is how the database is reached, as a role that may fill it. Its tenant's id is what the volume is labelled with, and Tool the
	// beginning of the names of the containers that help.
	access Access
	// volume is as Runner.EnsureVolume makes one; the files get the owner of its root.
	volume string
	// dir is where in the volume they lie: what Odoo finds by the name that the database has in the end, "filestore/<name>".
	dir string
}

// load fills a place with a full backup, and wants it to be what the manifest says: the same database.uuid, modules and row counts, and a
// file for each attachment. What it leaves in the place when it fails is the caller's to drop. tell hears often how far it is, in bytes; it may be nil.
// Errors: ErrNotFull, ErrNotTheSame, ErrNoSpace, ErrTooLong, ErrObjectMissing, archive.ErrDamaged, archive.ErrWrongKey, ErrDatabaseUnreachable.
func (w *Worker) load(ctx context.Context, b Backup, into place, tell func(done, total int64)) error {
	m, err := w.readManifest(ctx, b.KeyPrefix)
	if err != nil {
		return err
	}
	if m.Filestore == nil {
		return ErrNotFull
	}
	if err := w.fits(ctx, m); err != nil {
		return err
	}
	return within(ctx, w.longest(m.DumpBytes()+m.Filestore.Size, loadTimeout), func(ctx context.Context) error { return w.fill(ctx, b, m, into, tell) })
}

// fill is load once its place is known to have room.
func (w *Worker) fill(ctx context.Context, b Backup, m archive.Manifest, into place, tell func(done, total int64)) error {
	all := &passed{tell: tell, total: m.Dump.Bytes + m.Filestore.Bytes}
	var files fileNames
	err := sideBySide(ctx, func(ctx context.Context) error {
		return w.read(ctx, b.KeyPrefix+m.Dump.Object, m.Dump, func(content io.Reader) error {
			return full(w.database.Restore(ctx, into.access, all.reader(content), m.DumpBytes()))
		})
	}, func(ctx context.Context) error {
		var err error
		files, err = w.loadFiles(ctx, b.KeyPrefix, *m.Filestore, into, all)
		return err
	})
	if err != nil {
		return err
	}
	return w.compare(ctx, into.access, m.Database, files)
}

// databaseFactor is what a dump becomes, for it and for the database: a dump only names indexes, and the server writes ahead.
const databaseFactor = 3

// fits wants there to be space before anything is written. The tenants' server may be elsewhere, and
// we know what it has only if we were told.
func (w *Worker) fits(ctx context.Context, m archive.Manifest) error {
	if err := w.databaseRoom(ctx, databaseFactor*m.DumpBytes()); err != nil {
		return err
	}
	free, known, err := w.volumes.FreeBytes(ctx)
	if err != nil || !known {
		return err
	}
	if need := databaseFactor*m.DumpBytes() + m.Filestore.Size; free < need {
		return ErrNoSpace.WithMessage("There isn't enough space on our server to restore this backup: it takes about %d MB, and %d MB are free. "+
			"Our staff have to look at it.", need>>20, free>>20)
	}
	return nil
}

// full tells an error that means that there is no space left, wherever it was.
func full(err error) error {
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no space left on device") {
		return ErrNoSpace.WithCause(err)
	}
	return err
}

// compare wants what was restored to be what the manifest says, and to find all its files.
func (w *Worker) compare(ctx context.Context, access Access, want archive.Database, files fileNames) error {
	snapshot, err := w.database.Snapshot(ctx, access)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	if err := sameDatabase(ctx, snapshot, want); err != nil {
		return err
	}
	return snapshot.EachFile(ctx, func(name string) error {
		if !files.has(name) {
			return ErrNotTheSame.WithCause(fmt.Errorf("an attachment needs the file %q, which wasn't restored", name))
		}
		return nil
	})
}

// filesSuffix ends the name of the container through which files are loaded.
const filesSuffix = "_files"

// loadFiles returns what it put into the volume.
func (w *Worker) loadFiles(ctx context.Context, prefix string, files archive.Files, into place, all *passed) (fileNames, error) {
	mount := into.access.Tool + filesSuffix
	if err := w.volumes.MountVolume(ctx, mount, into.volume, into.access.TenantID.String(), w.opts.Image, false); err != nil {
		return nil, fmt.Errorf("mount the filestore: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := w.volumes.RemoveContainer(ctx, mount); err != nil {
			w.log.Warn("a restore's container stays behind", "container", mount, "error", err)
		}
	}()
	owner, err := w.ownerOf(ctx, mount)
	if err != nil {
		return nil, err
	}
	names := fileNames{}
	err = w.read(ctx, prefix+files.Object, files.Part, func(content io.Reader) error {
		content = all.reader(content)
		in, out := io.Pipe()
		return sideBySide(ctx, func(context.Context) error {
			defer func() { _ = out.CloseWithError(errWriterGone) }() // never fails, and is of no consequence after the next
			err := owner.repack(content, out, into.dir, names)
			_ = out.CloseWithError(err)
			return err
		}, func(ctx context.Context) error {
			defer func() { _ = in.CloseWithError(errPutEnded) }()
			err := full(w.volumes.WriteTree(ctx, mount, in))
			_ = in.CloseWithError(errors.Join(errPutEnded, err))
			return err
		})
	})
	return names, err
}

// fileNames are names of a filestore's files, as short as they can be kept: there may be a million.
type fileNames map[[sha1.Size]byte]struct{}

// key takes the digits that a valid name consists of.
func (fileNames) key(name string) (key [sha1.Size]byte) {
	_, _ = hex.Decode(key[:], []byte(path.Base(name))) // a valid name's can be
	return key
}

func (f fileNames) has(name string) bool {
	if !archive.ValidFileName(name) {
		return false
	}
	_, ok := f[f.key(name)]
	return ok
}

// owner is whose Odoo's files are, in numbers: those of the volume's root, which Odoo's image gave it.
type owner struct{ uid, gid int }

func (w *Worker) ownerOf(ctx context.Context, mount string) (owner, error) {
	root, err := w.volumes.ReadTree(ctx, mount, "")
	if err != nil {
		return owner{}, err
	}
	defer func() { _ = root.Close() }()
	header, err := tar.NewReader(root).Next()
	if err != nil {
		return owner{}, fmt.Errorf("look at the volume's root: %w", err)
	}
	return owner{header.Uid, header.Gid}, nil
}

// repack turns a backup's part into an archive of the volume's root, and notes the names of its files.
func (o owner) repack(part io.Reader, to io.Writer, dir string, names fileNames) error {
	out := tar.NewWriter(to)
	made := map[string]bool{}
	folder := func(name string) error {
		if made[name] {
			return nil
		}
		made[name] = true
		return out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755, Uid: o.uid, Gid: o.gid})
	}
	for i, c := range dir {
		if c == '/' {
			if err := folder(dir[:i]); err != nil {
				return err
			}
		}
	}
	if err := folder(dir); err != nil {
		return err
	}
	err := archive.EachFile(part, func(header *tar.Header, content io.Reader) error {
		if err := folder(path.Join(dir, path.Dir(header.Name))); err != nil {
			return err
		}
		name := path.Join(dir, header.Name) //nolint:gosec // EachFile gives names of two parts and hexadecimal digits only
		err := out.WriteHeader(&tar.Header{
			Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Uid: o.uid, Gid: o.gid, Size: header.Size, ModTime: header.ModTime,
		})
		if err != nil {
			return err
		}
		names[names.key(header.Name)] = struct{}{}
		_, err = io.Copy(out, content)
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}
