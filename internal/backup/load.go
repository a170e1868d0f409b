package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"time"

	"golang.org/x/sync/errgroup"

	"controlplane/internal/backup/archive"
	"controlplane/internal/ops"
)

// load restores beside what there is: nothing of it is seen yet.
func (w *Worker) load(ctx context.Context, r restore) error {
	m, err := w.readManifest(ctx, r.backup.KeyPrefix)
	if err != nil {
		return err
	}
	if m.Filestore == nil {
		return ErrNotFull
	}
	if err := w.loadDatabase(ctx, r, m); err != nil {
		return err
	}
	r.Note(ctx, "The database is restored; the files are next")
	if err := w.loadFiles(ctx, r, *m.Filestore); err != nil {
		return err
	}
	r.Note(ctx, "The files are restored")
	return nil
}

func (w *Worker) loadDatabase(ctx context.Context, r restore, m archive.Manifest) error {
	access, err := w.access(ctx, r.backup, r.tenant)
	if err != nil {
		return err
	}
	if access.Database, err = w.cluster.BeginRestore(ctx, r.tenant.DBName, r.tenant.ID.Subject()); err != nil {
		return err
	}
	err = w.read(ctx, r.backup.KeyPrefix+m.Dump.Object, m.Dump, func(content io.Reader) error {
		return w.database.Restore(ctx, access, &noted{r: content, total: m.Dump.Bytes, tell: func(text string) { r.Note(ctx, text) }}, m.Dump.Bytes)
	})
	if err != nil {
		return err
	}
	return w.compare(ctx, access, m.Database)
}

// compare wants what was restored to be what the manifest says.
func (w *Worker) compare(ctx context.Context, access Access, want archive.Database) error {
	snapshot, err := w.database.Snapshot(ctx, access)
	if err != nil {
		return err
	}
	defer snapshot.Close(ctx)
	got, _, err := snapshot.Describe(ctx)
	if err != nil {
		return err
	}
	if got.UUID != want.UUID || !maps.Equal(got.Rows, want.Rows) || !maps.Equal(got.Modules, want.Modules) {
		return ErrNotTheSame.WithCause(fmt.Errorf("restored: %s, rows %v; in the backup: %s, rows %v", got.UUID, got.Rows, want.UUID, want.Rows))
	}
	return nil
}

func (w *Worker) loadFiles(ctx context.Context, r restore, files archive.Files) error {
	mount := helperName(r.backup, "restore")
	volume, dir := w.opts.Filestore(r.tenant)
	if err := w.volumes.MountVolume(ctx, mount, volume, r.tenant.ID.String(), w.opts.Image, false); err != nil {
		return fmt.Errorf("mount the filestore: %w", err)
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
		return err
	}
	return w.read(ctx, r.backup.KeyPrefix+files.Object, files.Part, func(content io.Reader) error {
		in, out := io.Pipe()
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			err := owner.repack(content, out, dir)
			_ = out.CloseWithError(err) // never fails
			return err
		})
		g.Go(func() error {
			err := w.volumes.WriteTree(ctx, mount, in)
			_ = in.CloseWithError(errors.Join(errPutEnded, err)) // never fails
			return err
		})
		return g.Wait()
	})
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

// repack turns a backup's part into an archive of the volume's root.
func (o owner) repack(part io.Reader, to io.Writer, dir string) error {
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
		_, err = io.Copy(out, content)
		return err
	})
	if err != nil {
		return err
	}
	return out.Close()
}

// unload drops what was restored beside the tenant's database. Files stay: they harm nobody. It is for what wasn't swapped, and runs even if
// nothing was loaded: what an earlier restore put aside isn't its business.
func (w *Worker) unload(ctx context.Context, run *ops.Run) error {
	r, err := w.ofRestore(ctx, run)
	if err != nil {
		return err
	}
	return w.cluster.DropRestored(ctx, r.tenant.DBName, r.tenant.ID.Subject())
}

// noted tells now and then how much of a dump was read.
type noted struct {
	r     io.Reader
	total int64
	read  int64
	told  int64 // tenths
	tell  func(text string)
}

// Read reads on.
func (n *noted) Read(p []byte) (int, error) {
	got, err := n.r.Read(p)
	n.read += int64(got)
	if tenths := n.read * 10 / max(n.total, 1); tenths > n.told && n.total > 50<<20 {
		n.told = tenths
		n.tell(fmt.Sprintf("%d of %d MB of the database are read", n.read>>20, n.total>>20))
	}
	return got, err
}
