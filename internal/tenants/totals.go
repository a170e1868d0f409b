package tenants

import (
	"context"

	"controlplane/internal/accounts"
)

// Totals count the clients that aren't deleted.
type Totals struct {
	Clients     int
	Active      int
	Suspended   int
	DiskUsageMB int64
}

// Totals counts the caller's tenants, an admin's are everybody's. One on the way to another state is counted where it is.
func (s *Service) Totals(ctx context.Context, p accounts.Principal) (Totals, error) {
	var t Totals
	const count = `SELECT count(*), count(*) FILTER (WHERE state = 'active'), count(*) FILTER (WHERE state = 'suspended'),
		coalesce(sum(disk_usage_mb), 0) FROM tenants WHERE state <> 'deleted'`
	query, args := count, []any(nil)
	if owner := owned(p); owner != nil {
		query, args = count+` AND account_id = $1`, []any{*owner}
	}
	err := s.pool.QueryRow(ctx, query, args...).Scan(&t.Clients, &t.Active, &t.Suspended, &t.DiskUsageMB)
	return t, wrap(err, "count the clients")
}
