package backup

import (
	"context"
	"fmt"
	"io"
	"maps"
	"strings"

	"controlplane/internal/backup/archive"
)

// uploadDump stores a dump of a snapshot, of about so many bytes, below a prefix and under a name of this attempt's own.
func (w *Worker) uploadDump(ctx context.Context, prefix, object string, s Snapshot, size int64, all *passed) (archive.Part, error) {
	key := attemptKey(prefix, object)
	part, err := w.uploadPart(ctx, key, size, func(ctx context.Context, to io.Writer) error { return s.Dump(ctx, all.writer(to)) })
	part.Object = strings.TrimPrefix(key, prefix)
	return part, err
}

// uploadPart stores what write writes, of about so many bytes, compressed and encrypted.
func (w *Worker) uploadPart(ctx context.Context, key string, size int64, write func(ctx context.Context, to io.Writer) error) (part archive.Part, err error) {
	err = w.upload(ctx, key, size, func(ctx context.Context, out io.Writer) error {
		to, err := w.keys.NewWriter(out)
		if err != nil {
			return err
		}
		if err := write(ctx, to); err != nil {
			to.Discard()
			return err
		}
		part, err = to.Close()
		return err
	})
	return part, err
}

// sameDatabase wants what was restored to be what a manifest says of the database.
func sameDatabase(ctx context.Context, restored Snapshot, want archive.Database) error {
	got, _, err := restored.Describe(ctx)
	if err != nil {
		return err
	}
	if got.UUID != want.UUID || !maps.Equal(got.Rows, want.Rows) || !maps.Equal(got.Modules, want.Modules) {
		return ErrNotTheSame.WithCause(fmt.Errorf("restored: %s, rows %v; in the backup: %s, rows %v", got.UUID, got.Rows, want.UUID, want.Rows))
	}
	return nil
}
