// Package alerts keeps what an operator has to know and act on: one open row per kind and subject, however often it is raised. It
// only keeps; sending is for others. Messages never hold secrets.
package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// Alert is something that needs a person.
type Alert struct {
	Kind    string // stable, "<what>.<how>": "operation.held", "host.full"
	Subject string // "tenant/42", "host"
	Message string // for operators
}

// Record is a stored Alert.
type Record struct {
	Alert
	ID         int64
	RaisedAt   time.Time
	LastAt     time.Time // when it was raised last
	Count      int       // how often it was raised since RaisedAt
	ResolvedAt *time.Time
}

// What callers are told.
var (
	ErrNotFound   = errs.New(errs.NotFound, "alert_not_found", "Alert not found")
	ErrPageBounds = errs.InvalidField("limit", "out_of_range", "limit must be from 1 to 500.")
)

// Raise opens an alert, or notes on the open one of that kind and subject that it happened again. It is part of q's transaction.
func Raise(ctx context.Context, q postgres.Querier, a Alert) error {
	_, err := q.Exec(ctx, `
		INSERT INTO alerts (kind, subject, message) VALUES ($1, $2, $3)
		ON CONFLICT (kind, subject) WHERE resolved_at IS NULL
		DO UPDATE SET message = EXCLUDED.message, last_at = now(), count = alerts.count + 1`, a.Kind, a.Subject, a.Message)
	if err != nil {
		return fmt.Errorf("raise %s of %s: %w", a.Kind, a.Subject, err)
	}
	return nil
}

// Resolve closes the open alert of that kind and subject, if there is one.
func Resolve(ctx context.Context, q postgres.Querier, kind, subject string) error {
	_, err := q.Exec(ctx, "UPDATE alerts SET resolved_at = now() WHERE kind = $1 AND subject = $2 AND resolved_at IS NULL", kind, subject)
	if err != nil {
		return fmt.Errorf("resolve %s of %s: %w", kind, subject, err)
	}
	return nil
}

// Board is the operators' view of the alerts.
type Board struct{ pool *pgxpool.Pool }

// New returns the board of the platform database.
func New(pool *pgxpool.Pool) *Board { return &Board{pool: pool} }

// Filter narrows a List; zero values mean everything that is open.
type Filter struct {
	Kind     string
	Resolved bool  // those that were resolved, instead of the open ones
	Before   int64 // only ids below, for the next page
	Limit    int   // 1 to 500
}

const maxPage = 500

// List returns matching alerts, newest first. Errors: ErrPageBounds.
func (b *Board) List(ctx context.Context, f Filter) ([]Record, error) {
	if f.Limit < 1 || f.Limit > maxPage || f.Before < 0 {
		return nil, ErrPageBounds
	}
	rows, err := b.pool.Query(ctx, `
		SELECT kind, subject, message, id, raised_at, last_at, count, resolved_at FROM alerts
		WHERE (resolved_at IS NOT NULL) = $1 AND ($2 = '' OR kind = $2) AND ($3 = 0 OR id < $3)
		ORDER BY id DESC LIMIT $4`, f.Resolved, f.Kind, f.Before, f.Limit)
	if err != nil {
		return nil, fmt.Errorf("list the alerts: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Record, error) {
		var r Record
		err := row.Scan(&r.Kind, &r.Subject, &r.Message, &r.ID, &r.RaisedAt, &r.LastAt, &r.Count, &r.ResolvedAt)
		return r, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the alerts: %w", err)
	}
	return list, nil
}

// Close resolves an alert by hand; one that is resolved stays as it is. What is in also is done in the same transaction, for those who
// keep a record of it. Errors: ErrNotFound.
func (b *Board) Close(ctx context.Context, id int64, also ...func(ctx context.Context, q postgres.Querier) error) error {
	return postgres.InTx(ctx, b.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE alerts SET resolved_at = coalesce(resolved_at, now()) WHERE id = $1", id)
		if err != nil {
			return fmt.Errorf("resolve alert %d: %w", id, err)
		}
		if tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		for _, do := range also {
			if err := do(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}
