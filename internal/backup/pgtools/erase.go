package pgtools

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup"
)

// eraseTimeout is for a few small tables. A database may be made so that it never ends.
const eraseTimeout = 5 * time.Minute

// mailAccounts are columns of mail servers that let somebody send or read mail: passwords, keys, and the tokens of mail providers. Odoo's own
// neutralising only switches the servers off.
const mailAccounts = `
	SELECT table_name::text, column_name::text FROM information_schema.columns
	WHERE table_schema = 'public' AND table_name IN ('ir_mail_server', 'fetchmail_server') AND is_nullable = 'YES'
		AND (column_name IN ('smtp_pass', 'password', 'smtp_ssl_private_key') OR column_name LIKE '%\_token')
	ORDER BY 1, 2`

// EraseCredentials empties what lets somebody act as the Odoo that a backup is of: its mail servers' credentials, and the secret by which it
// knows the links that it has mailed. Errors: backup.ErrNotNeutralised, backup.ErrDatabaseUnreachable.
func (s *Server) EraseCredentials(ctx context.Context, a backup.Access) error {
	ctx, cancel := context.WithTimeoutCause(ctx, eraseTimeout, backup.ErrNotNeutralised)
	defer cancel()
	conn, err := s.connect(ctx, a)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	conn.PgConn().Frontend().SetMaxBodyLen(answerBytes)
	if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return erase(ctx, tx) }); err != nil {
		return bounded(ctx, fmt.Errorf("erase the credentials in %s: %w", a.Database, err))
	}
	return nil
}

func erase(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, mailAccounts)
	if err != nil {
		return err
	}
	type column struct{ Table, Name string }
	columns, err := pgx.CollectRows(rows, pgx.RowToStructByPos[column])
	if err != nil {
		return err
	}
	for _, c := range columns {
		name := pgx.Identifier{c.Name}.Sanitize()
		if _, err := tx.Exec(ctx, "UPDATE "+pgx.Identifier{"public", c.Table}.Sanitize()+" SET "+name+" = NULL WHERE "+name+" IS NOT NULL"); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, "UPDATE public.ir_config_parameter SET value = gen_random_uuid()::text WHERE key = 'database.secret'")
	return err
}
