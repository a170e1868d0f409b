package pgtools

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"controlplane/internal/backup"
)

// restoreScript keeps the dump in a file that only the program's user can read, as pg_restore has to jump about in it to use more than one
// connection. It is in the container's own volume, which goes with it. "$1" is how many kilobytes it takes, the rest is pg_restore's.
const restoreScript = `
dir=${PGDATA:-/tmp}; mkdir -p "$dir" &&
free=$(df -Pk "$dir" | awk 'NR == 2 { print $4 }') &&
if [ "$free" -lt "$1" ]; then echo "no space: $free kB of $1 kB" >&2; exit 28; fi; shift &&
cat >"$dir/dump" && exec "$@" "$dir/dump"`

const (
	noSpace = "exit code 28: no space"
	// jobs are connections that a restore uses at once. A tenant's role has only a few to spare.
	jobs = 2
	// spaceFactor is for the indexes that a dump only names, and for what the server writes ahead: it may be on the same disk.
	spaceFactor = 3
)

// Restore runs as the tenant's role: what a dump holds could do anything that the one who restores it may.
func (s *Server) Restore(ctx context.Context, a backup.Access, dump io.Reader, bytes int64) error {
	if err := s.checkVersion(ctx, a); err != nil {
		return err
	}
	args := []string{
		strconv.FormatInt(spaceFactor*bytes>>10, 10),
		"pg_restore", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions", "--no-password", "--exit-on-error",
		"--jobs=" + strconv.Itoa(jobs), s.target(a) + " options='-c synchronous_commit=off'",
	}
	err := s.run(ctx, a, restoreScript, args, dump, io.Discard)
	switch {
	case err == nil:
		return s.flush(ctx, a)
	case strings.Contains(err.Error(), noSpace):
		return backup.ErrNoSpace.WithCause(err)
	}
	return fmt.Errorf("restore %s: %w", a.Database, err)
}

// flush has the server write to its disk what it owes: each of the thousands of objects that a restore makes is a transaction of its own,
// and none of them waited for that.
func (s *Server) flush(ctx context.Context, a backup.Access) error {
	conn, err := s.connect(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "SELECT pg_logical_emit_message(true, 'backup', 'restored')"); err != nil {
		return classify(fmt.Errorf("have %s written to disk: %w", a.Database, err))
	}
	return nil
}
