package accounts

import (
	"context"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// failureRetention is how long refused log-ins are kept. They aren't in the activity log: they are nobody's actions, anybody can cause
// them, and that log is for ever.
const failureRetention = 30 * 24 * time.Hour

// RefusedLogin is a log-in that failed. What was typed as the login isn't kept: people type passwords there.
type RefusedLogin struct {
	At       time.Time
	Username string // "": no account has that login
	IP       netip.Addr
}

// RefusedLogins lists the latest failures, newest first.
func (s *Service) RefusedLogins(ctx context.Context, limit int) ([]RefusedLogin, error) {
	list, err := s.store.loginFailures(ctx, limit)
	if err != nil {
		return nil, storeErr("list refused logins", err)
	}
	return list, nil
}

func (s store) insertLoginFailure(ctx context.Context, account ID, ip netip.Addr, now time.Time) error {
	var from *netip.Addr
	if ip.IsValid() {
		plain := ip.Unmap().WithZone("") // inet holds no zones
		from = &plain
	}
	_, err := s.pool.Exec(ctx, "INSERT INTO login_failures (at, account_id, ip) VALUES ($1, nullif($2::bigint, 0), $3)", now, account, from)
	return err
}

func (s store) loginFailures(ctx context.Context, limit int) ([]RefusedLogin, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT f.at, coalesce(a.username, ''), f.ip FROM login_failures f LEFT JOIN accounts a ON a.id = f.account_id
		ORDER BY f.at DESC, f.id DESC LIMIT $1`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (RefusedLogin, error) {
		var f RefusedLogin
		var ip *netip.Addr
		err := row.Scan(&f.At, &f.Username, &ip)
		if ip != nil {
			f.IP = *ip
		}
		return f, err
	})
}

func deleteLoginFailures(ctx context.Context, q postgres.Querier, before time.Time) (int64, error) {
	tag, err := q.Exec(ctx, "DELETE FROM login_failures WHERE at < $1", before)
	return tag.RowsAffected(), err
}
