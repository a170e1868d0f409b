package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Filter narrows a List; zero values mean everything.
type Filter struct {
	AccountID    int64
	TenantID     int64
	Actor        string
	ActionPrefix string    // "client." for all that was done to clients
	Since        time.Time // from then on
	Until        time.Time // before then
	Before       int64     // only ids below, for the next page
	Limit        int       // 1 to 500, default 100
}

const (
	defaultPage = 100
	maxPage     = 500
)

// List returns matching records, newest first.
func (l *Log) List(ctx context.Context, f Filter) ([]Record, error) {
	sql, args := f.query()
	rows, err := l.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("list the activity log: %w", err)
	}
	records, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("read the activity log: %w", err)
	}
	return records, nil
}

// query names only what is asked for, so that the index that serves it can be used.
func (f Filter) query() (string, []any) {
	var where []string
	var args []any
	add := func(asked bool, condition string, value any) {
		if asked {
			args = append(args, value)
			where = append(where, fmt.Sprintf(condition, len(args)))
		}
	}
	add(f.AccountID != 0, "account_id = $%d", f.AccountID)
	add(f.TenantID != 0, "tenant_id = $%d", f.TenantID)
	add(f.Actor != "", "actor = $%d", f.Actor)
	add(f.ActionPrefix != "", "action LIKE $%d", likePrefix(f.ActionPrefix))
	add(!f.Since.IsZero(), "at >= $%d", f.Since)
	add(!f.Until.IsZero(), "at < $%d", f.Until)
	add(f.Before != 0, "id < $%d", f.Before)
	sql := "SELECT id, at, coalesce(account_id, 0), actor, coalesce(tenant_id, 0), action, ip, detail FROM activity_log"
	if len(where) > 0 {
		sql += " WHERE " + strings.Join(where, " AND ")
	}
	limit := f.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	args = append(args, min(limit, maxPage))
	return fmt.Sprintf("%s ORDER BY id DESC LIMIT $%d", sql, len(args)), args
}

func likePrefix(s string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}
