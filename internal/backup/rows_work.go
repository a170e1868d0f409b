package backup

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/backup/archive"
	"controlplane/internal/postgres"
)

// setStarted is for each attempt; the first one's time stays.
func setStarted(ctx context.Context, q postgres.Querier, id ID, now time.Time) error {
	_, err := one(ctx, q, "start backup "+id.String(), `
		UPDATE backups b SET state = 'running', started_at = coalesce(started_at, $2)
		WHERE id = $1 AND state IN ('queued', 'running') RETURNING `+columns, id, now)
	return err
}

// setError notes why the last attempt failed.
func setError(ctx context.Context, q postgres.Querier, id ID, text string) error {
	_, err := one(ctx, q, "note what went wrong with backup "+id.String(), "UPDATE backups b SET error = $2 WHERE id = $1 RETURNING "+columns, id, text)
	return err
}

func setDone(ctx context.Context, q postgres.Querier, id ID, m archive.Manifest, text []byte, now time.Time) (Backup, error) {
	files := archive.Files{}
	if m.Filestore != nil {
		files = *m.Filestore
	}
	return one(ctx, q, "end backup "+id.String(), `
		UPDATE backups b SET state = 'done', finished_at = $2, verified_at = $2, error = NULL, manifest = $3,
			stored_bytes = $4, database_bytes = $5, filestore_bytes = $6, filestore_files = $7,
			quarantined = quarantined OR EXISTS (SELECT FROM tenants t WHERE t.id = b.tenant_id AND t.quarantined_at IS NOT NULL)
		WHERE id = $1 AND state IN ('queued', 'running') RETURNING `+columns,
		id, now, text, m.Dump.StoredBytes+files.StoredBytes, m.DumpBytes(), files.Size, files.Count)
}

func setFailed(ctx context.Context, q postgres.Querier, id ID, now time.Time) (Backup, error) {
	return one(ctx, q, "give up backup "+id.String(), `
		UPDATE backups b SET state = 'failed', finished_at = $2 WHERE id = $1 AND state IN ('queued', 'running') RETURNING `+columns, id, now)
}

// setVerified notes what a later look found; "" is that all is well.
func setVerified(ctx context.Context, q postgres.Querier, id ID, found string, now time.Time) (Backup, error) {
	return one(ctx, q, "note what backup "+id.String()+" was found to be", `
		UPDATE backups b SET error = nullif($2, ''), verified_at = CASE WHEN $2 = '' THEN $3 ELSE verified_at END,
			broken_at = CASE WHEN $2 <> '' THEN coalesce(broken_at, $3) END
		WHERE id = $1 RETURNING `+columns, id, found, now)
}

func setDeleted(ctx context.Context, q postgres.Querier, id ID, now time.Time) (Backup, error) {
	return one(ctx, q, "forget backup "+id.String(), `
		UPDATE backups b SET state = 'deleted', deleted_at = $2, kept = false WHERE id = $1 AND state = 'deleting' RETURNING `+columns, id, now)
}

func manifestOf(ctx context.Context, q postgres.Querier, id ID) ([]byte, error) {
	var text []byte
	if err := q.QueryRow(ctx, "SELECT manifest FROM backups WHERE id = $1", id).Scan(&text); err != nil {
		return nil, fmt.Errorf("read the manifest of backup %s: %w", id, err)
	}
	return text, nil
}
