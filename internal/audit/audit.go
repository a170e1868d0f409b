// Package audit is the append-only activity log: who did what to which tenant, from where. Rows are only ever inserted and read, which
// the database's roles see to, and a chain of hashes shows it when somebody went round them. Details never hold secrets, tokens or
// request bodies. It knows accounts by their bare id, so that accounts can use it.
package audit

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
)

// Entry is one thing that was done.
type Entry struct {
	AccountID int64  // who; 0: the system or nobody known
	Actor     string // the name of who, as it was then: a user name, "system", "operator"
	TenantID  int64  // 0: no tenant
	Action    string // stable, "<subject>.<verb>": "account.login", "tenant.create"
	IP        netip.Addr
	Detail    map[string]any // small, JSON-encodable, never secret
}

// Record is a stored Entry.
type Record struct {
	Entry
	ID int64
	At time.Time
}

// Log writes and reads the activity log.
type Log struct{ pool *pgxpool.Pool }

// New returns a log on the platform database.
func New(pool *pgxpool.Pool) *Log { return &Log{pool: pool} }

// RecordTx stores e through q, so that it is there exactly when the work of q's transaction is.
func (l *Log) RecordTx(ctx context.Context, q postgres.Querier, e Entry) error {
	return insert(ctx, q, e)
}

// Record stores e at once, for what has no transaction of its own, such as a refused login.
func (l *Log) Record(ctx context.Context, e Entry) error { return insert(ctx, l.pool, e) }

func scan(row pgx.CollectableRow) (Record, error) {
	var r Record
	var ip *netip.Addr
	err := row.Scan(&r.ID, &r.At, &r.AccountID, &r.Actor, &r.TenantID, &r.Action, &ip, &r.Detail)
	if ip != nil {
		r.IP = *ip
	}
	return r, err
}

func insert(ctx context.Context, q postgres.Querier, e Entry) error {
	detail := e.Detail
	if detail == nil {
		detail = map[string]any{}
	}
	var ip *netip.Addr
	if e.IP.IsValid() {
		plain := e.IP.Unmap().WithZone("") // inet holds no zones
		ip = &plain
	}
	_, err := q.Exec(ctx, `
		INSERT INTO activity_log (account_id, actor, tenant_id, action, ip, detail)
		VALUES (nullif($1, 0), $2, nullif($3, 0), $4, $5, $6)`,
		e.AccountID, e.Actor, e.TenantID, e.Action, ip, detail)
	if err != nil {
		return fmt.Errorf("record %s in the activity log: %w", e.Action, err)
	}
	return nil
}
