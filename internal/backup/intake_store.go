package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/odoozip"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// ImportKind is the kind of operation that makes a backup of what was uploaded, and has it restored.
const ImportKind = "backup.import"

// scriptObject is the uploaded dump, until there is one in our own format.
const scriptObject = "upload.sql.zst.age"

// uploadLife is far longer than an upload takes.
const uploadLife = 24 * time.Hour

// importInput is what an import is enqueued with.
type importInput struct {
	BackupID ID            `json:"backup_id"`
	Major    string        `json:"major"` // version of Odoo, as the manifest says
	Script   archive.Part  `json:"script"`
	Files    archive.Files `json:"files"`
}

// store keeps what was looked through, and enqueues the rest. What fails leaves nothing.
func (in *Intake) store(ctx context.Context, r Request, t tenants.Tenant, zip *odoozip.Archive) (Backup, error) {
	s := in.at.Service
	b := Backup{
		TenantID: t.ID, TenantName: t.Name, Kind: Imported, KeyPrefix: s.keyPrefix(t.Name, Imported, s.now()), RequestedBy: r.By.Username, CreatedAt: s.now(),
	}
	_, err := s.pool.Exec(ctx, "INSERT INTO backup_uploads (key_prefix, tenant_id, begun_at) VALUES ($1, $2, $3)", b.KeyPrefix, t.ID, b.CreatedAt)
	if err != nil {
		return Backup{}, fmt.Errorf("note an upload: %w", err)
	}
	input := importInput{Major: zip.Manifest.Major}
	if err = in.storeParts(ctx, b, zip, &input); err == nil {
		b, err = in.handOver(ctx, r, b, input)
	}
	if err == nil {
		return b, nil
	}
	gone, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := in.forget(gone, b.KeyPrefix); err != nil {
		in.deps.Log.WarnContext(ctx, "what was uploaded stays behind for now", "error", err)
	}
	return Backup{}, err
}

func (in *Intake) storeParts(ctx context.Context, b Backup, zip *odoozip.Archive, into *importInput) error {
	err := in.at.upload(ctx, b.KeyPrefix+scriptObject, zip.DumpBytes, func(_ context.Context, out io.Writer) error {
		part, err := in.deps.Keys.NewWriter(out)
		if err != nil {
			return err
		}
		if err := copyDump(part, zip); err != nil {
			part.Discard()
			return err
		}
		into.Script, err = part.Close()
		into.Script.Object = scriptObject
		return err
	})
	if err != nil {
		return err
	}
	key := attemptKey(b.KeyPrefix, archive.FilestoreObject)
	return in.at.upload(ctx, key, zip.FileBytes, func(_ context.Context, out io.Writer) error {
		files, err := in.deps.Keys.NewFilesWriter(out)
		if err != nil {
			return err
		}
		if err := zip.EachFile(files.AddFile); err != nil {
			files.Discard()
			return err
		}
		into.Files, err = files.Close()
		into.Files.Object = strings.TrimPrefix(key, b.KeyPrefix)
		return err
	})
}

func copyDump(to io.Writer, zip *odoozip.Archive) error {
	dump, err := zip.Dump()
	if err != nil {
		return err
	}
	defer func() { _ = dump.Close() }()
	_, err = io.Copy(to, dump)
	return err
}

// handOver makes a backup of the upload, in one transaction with the operation that works on it.
func (in *Intake) handOver(ctx context.Context, r Request, b Backup, input importInput) (Backup, error) {
	s := in.at.Service
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		t, err := s.tenants.Lock(ctx, tx, b.TenantID)
		if err != nil {
			return err
		}
		if !restorable(t) {
			return ErrNotNow
		}
		gone, err := tx.Exec(ctx, "DELETE FROM backup_uploads WHERE key_prefix = $1", b.KeyPrefix)
		if err != nil {
			return fmt.Errorf("hand an upload over: %w", err)
		}
		if gone.RowsAffected() != 1 {
			return errors.New("the upload was swept away meanwhile")
		}
		if b, err = insert(ctx, tx, b); err != nil {
			return err
		}
		input.BackupID = b.ID
		var op ops.Operation
		if op, err = s.ops.EnqueueTx(ctx, tx, ImportKind, b.ID.Subject(), input); err != nil {
			return fmt.Errorf("enqueue import %s: %w", b.ID, err)
		}
		if b, err = setOperation(ctx, tx, b.ID, op.ID); err != nil {
			return err
		}
		return in.deps.Desk.record(r, "backup.import", map[string]any{"bytes": input.Script.Bytes + input.Files.Size, "files": input.Files.Count})(ctx, tx, b)
	})
	return b, err
}

// forget removes what an upload has stored, and then that there was one.
func (in *Intake) forget(ctx context.Context, prefix string) error {
	if err := in.at.removeObjects(ctx, Backup{KeyPrefix: prefix}, nil); err != nil {
		return err
	}
	if _, err := in.at.pool.Exec(ctx, "DELETE FROM backup_uploads WHERE key_prefix = $1", prefix); err != nil {
		return fmt.Errorf("forget an upload: %w", err)
	}
	return nil
}

// Sweep removes what uploads left in the store that were cut short with the process that took them, and links that are over. It returns
// how many uploads that were.
func (in *Intake) Sweep(ctx context.Context) (int, error) {
	now := in.at.now()
	if _, err := in.at.pool.Exec(ctx, "DELETE FROM backup_links WHERE expires_at < $1", now); err != nil {
		return 0, fmt.Errorf("forget links that are over: %w", err)
	}
	rows, err := in.at.pool.Query(ctx, "SELECT key_prefix FROM backup_uploads WHERE begun_at < $1", now.Add(-uploadLife))
	if err != nil {
		return 0, fmt.Errorf("look for uploads: %w", err)
	}
	prefixes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("look for uploads: %w", err)
	}
	for n, prefix := range prefixes {
		if err := in.forget(ctx, prefix); err != nil {
			return n, err
		}
	}
	return len(prefixes), nil
}
