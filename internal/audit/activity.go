package audit

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Support is the actor that owners read in the place of a member of staff.
const Support = "support"

// system is the actor of what the platform does by itself.
const system = "system"

// ActivityFilter narrows an Activity.
type ActivityFilter struct {
	TenantID int64
	OwnerID  int64 // the account whose tenant it is, and who reads
	Before   int64 // only ids below, for the next page; 0: from the newest on
	Limit    int   // 1 to 500, default 100
}

// Activity returns what was done to one tenant as its owner may read it, newest first: staff is Support and has no address, and details
// that are meant for staff are left out.
func (l *Log) Activity(ctx context.Context, f ActivityFilter) ([]Record, error) {
	limit := f.Limit
	if limit <= 0 {
		limit = defaultPage
	}
	rows, err := l.pool.Query(ctx, `
		SELECT id, at, coalesce(account_id, 0), actor, coalesce(tenant_id, 0), action, ip, detail
		FROM activity_log
		WHERE tenant_id = $1 AND ($2 = 0 OR id < $2) AND (action LIKE 'client.%' OR action LIKE 'payment.%') AND action <> 'client.secrets_rekey'
		ORDER BY id DESC
		LIMIT $3`, f.TenantID, f.Before, min(limit, maxPage))
	if err != nil {
		return nil, fmt.Errorf("list a tenant's activity: %w", err)
	}
	records, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("read a tenant's activity: %w", err)
	}
	for i := range records {
		records[i].Entry = records[i].forOwner(f.OwnerID)
	}
	return records, nil
}

// forOwner leaves out what isn't the owner's business.
func (e Entry) forOwner(owner int64) Entry {
	staff := e.AccountID != owner && e.Actor != system
	detail := map[string]any{}
	for name, value := range e.Detail {
		untold := staff && name == "reason" && !tellsReason(e.Action)
		if slices.Contains(ownerDetails(), name) && !untold {
			detail[name] = value
		}
	}
	e.Detail = detail
	if e.AccountID != owner {
		e.AccountID, e.IP = 0, netip.Addr{}
	}
	if staff {
		e.Actor = Support
	}
	return e
}

// ownerDetails are the details that owners may read. Whatever a later release records is hidden until somebody puts it here.
func ownerDetails() []string {
	return []string{
		"name", "plan", "email", "domain", "state", "suspended_by", "deletion_scheduled_at", "hours", "reason",
		"payment_status", "reference", "amount_kobo", "currency", "billing_cycle",
	}
}

// tellsReason reports whether staff's reason for an action is written for the owner, as that of a suspension is.
func tellsReason(action string) bool { return strings.HasPrefix(action, "client.suspend") }
