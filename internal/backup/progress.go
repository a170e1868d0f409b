package backup

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// passed counts the bytes of the streams that something long consists of.
type passed struct {
	tell  func(done, total int64) // nil: nobody listens
	total int64
	done  atomic.Int64
}

// measured has an operation say how far its step is.
func measured(ctx context.Context, r *ops.Run) func(done, total int64) {
	return func(done, total int64) { r.Measured(ctx, done, total) }
}

// Write counts; it keeps nothing.
func (p *passed) Write(b []byte) (int, error) {
	if done := p.done.Add(int64(len(b))); p.tell != nil {
		p.tell(done, p.total)
	}
	return len(b), nil
}

// reader returns r, counted.
func (p *passed) reader(r io.Reader) io.Reader { return io.TeeReader(r, p) }

// writer returns w, counted.
func (p *passed) writer(w io.Writer) io.Writer { return io.MultiWriter(w, p) }

// expected is about how many bytes of dump and files a backup will copy: as many as the one before it.
func expected(ctx context.Context, q postgres.Querier, b Backup, onDisk int64) (int64, error) {
	var before *int64
	err := q.QueryRow(ctx, `
		SELECT (SELECT database_bytes + CASE WHEN $3 THEN filestore_bytes ELSE 0 END FROM backups
		WHERE tenant_id = $1 AND id < $2 AND state = 'done' AND (kind <> 'hourly' OR NOT $3) ORDER BY id DESC LIMIT 1)`,
		b.TenantID, b.ID, b.Kind.Full()).Scan(&before)
	switch {
	case err != nil:
		return 0, fmt.Errorf("look for the backup before %s: %w", b.ID, err)
	case before == nil:
		return onDisk, nil
	}
	return *before, nil
}
