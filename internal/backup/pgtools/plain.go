package pgtools

import (
	"context"
	"fmt"
	"io"
	"strings"

	"controlplane/internal/backup"
)

// Dump writes any database, an Odoo's or not, in PostgreSQL's custom format and uncompressed, as it is when the dump begins.
func (s *Server) Dump(ctx context.Context, a backup.Access, w io.Writer) error {
	if err := s.checkVersion(ctx, a); err != nil {
		return err
	}
	args := []string{"pg_dump", "--format=custom", "--compress=0", "--no-password", "--lock-wait-timeout=60s", s.target(a)}
	if err := s.run(ctx, a, `exec "$@"`, args, strings.NewReader(""), w); err != nil {
		return fmt.Errorf("dump %s: %w", a.Database, err)
	}
	return nil
}
