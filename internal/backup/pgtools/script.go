package pgtools

import (
	"context"
	"fmt"
	"io"

	"controlplane/internal/backup"
)

// printScript reads all of the dump, also what pg_restore doesn't want: only its end says that it was right.
const printScript = `"$@"; code=$?; cat >/dev/null; exit $code`

// Print writes a dump in PostgreSQL's custom format as plain SQL, as it comes: the order in which such a dump holds things is that in which
// they are restored. Whose things are isn't in it.
func (s *Server) Print(ctx context.Context, a backup.Access, dump io.Reader, w io.Writer) error {
	command := []string{"sh", "-c", printScript, "sh", "pg_restore", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions", "--file=-"}
	if err := s.opts.Tools.RunTool(ctx, a.Tool, a.TenantID.String(), s.opts.Image, command, dump, w); err != nil {
		return fmt.Errorf("print the dump of %s: %w", a.Database, err)
	}
	return nil
}
