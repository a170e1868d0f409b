// Package notices keeps what account owners are to be told: rows that are written in the transaction of what happened, each once. Sending
// them (by mail, later) is somebody else's.
package notices

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// ID identifies a notice.
type ID int64

// Kind says what a notice is about; the sender has a text for each.
type Kind string

// Notice is one thing to tell one owner.
type Notice struct {
	ID        ID
	AccountID accounts.ID
	TenantID  tenants.ID // 0: about no client in particular
	Kind      Kind
	DedupeKey string         // what is told once: "disk.warning/42/1767225600"
	Data      map[string]any // what the text needs; never a secret
	CreatedAt time.Time
	SentAt    *time.Time // nil: not yet
}

// EnqueueTx has the owner told with tx's commit. A key that was used before changes nothing, and reports false.
func EnqueueTx(ctx context.Context, tx pgx.Tx, n Notice) (enqueued bool, err error) {
	if n.AccountID == 0 || n.Kind == "" || n.DedupeKey == "" {
		return false, errors.New("a notice needs an account, a kind and a key")
	}
	data := []byte("{}")
	if len(n.Data) > 0 {
		if data, err = json.Marshal(n.Data); err != nil {
			return false, fmt.Errorf("encode notice %s: %w", n.DedupeKey, err)
		}
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO notices (account_id, tenant_id, kind, dedupe_key, data) VALUES ($1, nullif($2, 0), $3, $4, $5)
		ON CONFLICT (dedupe_key) DO NOTHING`, n.AccountID, int64(n.TenantID), n.Kind, n.DedupeKey, data)
	if err != nil {
		return false, fmt.Errorf("enqueue notice %s: %w", n.DedupeKey, err)
	}
	return tag.RowsAffected() == 1, nil
}

// Filter narrows a List; zero fields don't.
type Filter struct {
	AccountID accounts.ID
	TenantID  tenants.ID
	Kind      Kind
	Unsent    bool
	Limit     int // 1 to 1000; 0: 100
}

const (
	defaultPage = 100
	maxPage     = 1000
)

// List returns notices, the newest first.
func List(ctx context.Context, q postgres.Querier, f Filter) ([]Notice, error) {
	if f.Limit < 1 {
		f.Limit = defaultPage
	}
	rows, err := q.Query(ctx, `
		SELECT id, account_id, coalesce(tenant_id, 0), kind, dedupe_key, data, created_at, sent_at FROM notices
		WHERE ($1 = 0 OR account_id = $1) AND ($2 = 0 OR tenant_id = $2) AND ($3 = '' OR kind = $3) AND (NOT $4 OR sent_at IS NULL)
		ORDER BY id DESC LIMIT $5`, int64(f.AccountID), int64(f.TenantID), string(f.Kind), f.Unsent, min(f.Limit, maxPage))
	if err != nil {
		return nil, fmt.Errorf("list the notices: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Notice, error) {
		var n Notice
		err := row.Scan(&n.ID, &n.AccountID, &n.TenantID, &n.Kind, &n.DedupeKey, &n.Data, &n.CreatedAt, &n.SentAt)
		return n, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the notices: %w", err)
	}
	return list, nil
}
