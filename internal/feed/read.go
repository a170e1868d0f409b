package feed

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/tenants"
)

const (
	// MaxBatch is how many events one Read returns at most.
	MaxBatch = 500
	// history is how many transactions back a Cursor may lie, which bounds what a Read costs. An older one is Lost. An idle platform
	// makes a few transactions a second.
	history = 50_000
	// maxCursor bounds what a caller may bring; a snapshot names every transaction that was under way.
	maxCursor = 4096
)

// Cursor is a place in the stream: a database snapshot, "xmin:xmax:running". "" is now.
type Cursor string

// valid reports whether PostgreSQL will read it as a snapshot.
func (c Cursor) valid() bool {
	parts := strings.Split(string(c), ":")
	if len(c) > maxCursor || len(parts) != 3 {
		return false
	}
	low, ok := xid(parts[0])
	high, ok2 := xid(parts[1])
	if !ok || !ok2 || low == 0 || high < low {
		return false
	}
	if parts[2] == "" {
		return true
	}
	last := uint64(0)
	for _, text := range strings.Split(parts[2], ",") {
		running, ok := xid(text)
		if !ok || running < low || running >= high || running <= last {
			return false
		}
		last = running
	}
	return true
}

// first is the oldest transaction that wasn't over at c.
func (c Cursor) first() string {
	if c == "" {
		return "0"
	}
	first, _, _ := strings.Cut(string(c), ":")
	return first
}

func xid(text string) (uint64, bool) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 63)
	return n, err == nil
}

// Batch is what happened after a Cursor, oldest first.
type Batch struct {
	Events []Event
	Next   Cursor // where the next Read goes on
	Lost   bool   // the cursor is unreadable, too old, or too much has happened: there are no Events, read the state of things instead
}

// Read returns what was committed after a cursor and concerns the scope. With the cursor "" it returns where now is, and no events.
func (f *Feed) Read(ctx context.Context, scope Scope, after Cursor) (Batch, error) {
	from := after
	if !from.valid() {
		from = ""
	}
	rows, err := f.pool.Query(ctx, readSQL, string(from), from.first(), scope.Tenant, scope.Account, history, MaxBatch+1)
	if err != nil {
		return Batch{}, fmt.Errorf("read events: %w", err)
	}
	var b Batch
	var skipped bool
	for rows.Next() {
		e, err := scan(rows, &b.Next, &skipped)
		if err != nil {
			rows.Close()
			return Batch{}, fmt.Errorf("read an event: %w", err)
		}
		if e.ID != "" {
			b.Events = append(b.Events, e)
		}
	}
	if err := rows.Err(); err != nil {
		return Batch{}, fmt.Errorf("read events: %w", err)
	}
	if after != "" && (skipped || len(b.Events) > MaxBatch) {
		b.Events, b.Lost = nil, true
	}
	slices.SortFunc(b.Events, inOrder)
	return b, nil
}

// inOrder sorts by time; what has the same time was numbered in its order.
func inOrder(a, b Event) int {
	return cmp.Or(a.At.Compare(b.At), cmp.Compare(len(a.ID), len(b.ID)), strings.Compare(a.ID, b.ID))
}

// readSQL compares transactions with the cursor's snapshot ($1; $2 is its first) and with its own. The latter leaves out what can't be
// there: rows of a restored dump, whose transactions another server numbered. What is new is found first, by the index on
// transactions, however much there is of a tenant. There is always one row, which brings the snapshot.
const readSQL = `
WITH here AS MATERIALIZED (
	SELECT s.now, s.since, s.since IS NULL OR pg_snapshot_xmin(s.since)::text::bigint < pg_snapshot_xmax(s.now)::text::bigint - $5::bigint
		OR pg_snapshot_xmax(s.since) > pg_snapshot_xmax(s.now) AS skip -- the latter is another server's, from before a restore
	FROM (SELECT pg_current_snapshot() AS now, nullif($1::text, '')::pg_snapshot AS since) AS s
), moves AS MATERIALIZED (
	SELECT e.* FROM tenant_events e
	WHERE (SELECT NOT skip FROM here) AND e.xid >= $2::text::xid8
		AND NOT pg_visible_in_snapshot(e.xid, (SELECT since FROM here)) AND pg_visible_in_snapshot(e.xid, (SELECT now FROM here))
), steps AS MATERIALIZED (
	SELECT e.* FROM operation_events e
	WHERE (SELECT NOT skip FROM here) AND e.xid >= $2::text::xid8
		AND NOT pg_visible_in_snapshot(e.xid, (SELECT since FROM here)) AND pg_visible_in_snapshot(e.xid, (SELECT now FROM here))
)
SELECT h.now::text, h.skip, e.* FROM here h LEFT JOIN (
	SELECT 't' || e.id, e.at, t.id, t.name, coalesce(e.from_state, ''), e.to_state, e.reason, 0::bigint, '', '', '', 0, ''
	FROM moves e JOIN tenants t ON t.id = e.tenant_id
	WHERE ($3::bigint = 0 OR t.id = $3) AND ($4::bigint = 0 OR $3 <> 0 OR t.account_id = $4)
	UNION ALL
	SELECT 'o' || e.id, e.at, t.id, t.name, '', '', '', o.id, o.kind, e.step, e.event, e.attempt, e.message
	FROM steps e JOIN operations o ON o.id = e.operation_id JOIN tenants t ON o.subject = 'tenant/' || t.id
	WHERE ($3::bigint = 0 OR t.id = $3) AND ($4::bigint = 0 OR $3 <> 0 OR t.account_id = $4)
	LIMIT $6
) AS e (event_id, at, tenant_id, name, from_state, to_state, reason, operation_id, kind, step, event, attempt, message) ON true`

// scan reads a row of readSQL; the ID stays "" in a row that brings the snapshot only.
func scan(row pgx.Rows, next *Cursor, skipped *bool) (Event, error) {
	var id, name, from, to, reason, kind, step, event, message *string
	var at *time.Time
	var tenant, operation *int64
	var attempt *int
	err := row.Scan(next, skipped, &id, &at, &tenant, &name, &from, &to, &reason, &operation, &kind, &step, &event, &attempt, &message)
	if err != nil || id == nil {
		return Event{}, err //nolint:wrapcheck // Read wraps it
	}
	e := Event{
		ID: *id, Kind: StateChange, At: *at, TenantID: tenants.ID(*tenant), Tenant: *name,
		From: tenants.State(*from), To: tenants.State(*to), Reason: *reason,
		Operation: ops.ID(*operation), OperationKind: *kind, Step: *step, Event: *event, Attempt: *attempt, Message: *message,
	}
	if e.Operation != 0 {
		e.Kind = OperationStep
	}
	return e, nil
}
