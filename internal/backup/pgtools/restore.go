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
	args := []string{
		strconv.FormatInt(spaceFactor*bytes>>10, 10),
		"pg_restore", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions", "--no-password", "--exit-on-error",
		"--jobs=" + strconv.Itoa(jobs), s.target(a),
	}
	err := s.run(ctx, a, restoreScript, args, dump, io.Discard)
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), noSpace):
		return backup.ErrNoSpace.WithCause(err)
	}
	return fmt.Errorf("restore %s: %w", a.Database, err)
}
