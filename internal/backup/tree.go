package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"controlplane/internal/backup/archive"
)

// tree is a tenant's filestore.
type tree struct {
	volumes Volumes
	mount   string
	root    string
}

// add adds a directory or file below the filestore to the copy; all, unless nil, counts it. Errors: fs.ErrNotExist.
func (t tree) add(ctx context.Context, files *archive.FilesWriter, name string, all *passed) error {
	source, err := t.volumes.ReadTree(ctx, t.mount, strings.TrimSuffix(t.root+"/"+name, "/"))
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	if all != nil {
		return files.Add(all.reader(source), name)
	}
	return files.Add(source, name)
}

// addLate adds what the snapshot needs and the copy lacks. A file that isn't what its name says was being written when it was copied, or is
// damaged where it lies: it is copied once more, and then as it is.
func addLate(ctx context.Context, s Snapshot, files *archive.FilesWriter, from tree) error {
	late := map[string]bool{}
	err := s.EachFile(ctx, func(name string) error {
		if !files.Has(name) {
			late[name] = true
		}
		if len(late) > lateFiles {
			return ErrFilesMissing.WithCause(fmt.Errorf("more than %d files of the snapshot aren't in the copy", lateFiles))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range late {
		if !archive.ValidFileName(name) {
			return ErrFilesMissing.WithCause(fmt.Errorf("the snapshot needs a file %q, which isn't one of Odoo's", name))
		}
		if err := from.add(ctx, files, name, nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !files.Has(name) && !files.Altered(name) {
			return ErrFilesMissing.WithCause(fmt.Errorf("the snapshot needs the file %s, which isn't there", name))
		}
	}
	return nil
}
