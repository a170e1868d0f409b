package tenants

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

const (
	// RoutesLast is how long an edge may go by routes that it can't compare with ours. After that it passes nothing on.
	RoutesLast = 14 * 24 * time.Hour

	edgesForgotten = RoutesLast + 24*time.Hour // by then an edge that we haven't heard of has stopped, whatever its clock says
	edgesMargin    = 10 * time.Minute          // that a transaction may take from what it calls now to its commit
)

// RoutesAsOf is Routes with the database's time from before the reading.
func RoutesAsOf(ctx context.Context, q postgres.Querier) ([]Route, time.Time, error) {
	var at time.Time
	if err := q.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
		return nil, at, wrap(err, "read the time of the routes")
	}
	routes, err := Routes(ctx, q)
	return routes, at, err
}

// NoteEdge puts down that an edge goes by routes of that time or newer ones, also when it is started anew and finds no database.
func NoteEdge(ctx context.Context, q postgres.Querier, edge string, asOf time.Time) error {
	_, err := q.Exec(ctx, `
		WITH forgotten AS (DELETE FROM edges WHERE as_of < now() - make_interval(secs => $3) AND id <> $1)
		INSERT INTO edges (id, as_of) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET as_of = EXCLUDED.as_of`,
		edge, asOf, edgesForgotten.Seconds())
	return wrap(err, "note what an edge knows")
}

// KnownToEdges returns until when all that was changed about routes has reached each edge that still passes anything on.
func KnownToEdges(ctx context.Context, q postgres.Querier) (time.Time, error) {
	var at time.Time
	err := q.QueryRow(ctx, `SELECT coalesce(min(as_of), now()) - make_interval(secs => $2) FROM edges WHERE as_of >= now() - make_interval(secs => $1)`,
		edgesForgotten.Seconds(), edgesMargin.Seconds()).Scan(&at)
	return at, wrap(err, "find out what the edges know")
}

// EdgeState is what an edge's last report lets us think of it.
type EdgeState string

// An edge that is silent may still pass requests on by its copy of the routes, so what was freed since its report rests; one that has
// stopped can't, and holds nothing back.
const (
	EdgeReporting EdgeState = "reporting"
	EdgeSilent    EdgeState = "silent"
	EdgeStopped   EdgeState = "stopped"
)

// Edge is one that we have heard of. Edges that share a copy of the routes, as one does that takes over, are one.
type Edge struct {
	ID        string    // of its copy of the routes
	FirstSeen time.Time // as far back as we know
	AsOf      time.Time // when it last compared its routes with ours, and reported so
	State     EdgeState
}

// Edges returns all edges, the oldest first. One is silent when it hasn't reported for silentAfter.
func Edges(ctx context.Context, q postgres.Querier, silentAfter time.Duration) ([]Edge, error) {
	rows, err := q.Query(ctx, `
		SELECT id, first_seen, as_of, CASE
			WHEN as_of < now() - make_interval(secs => $2) THEN 'stopped'
			WHEN as_of < now() - make_interval(secs => $1) THEN 'silent'
			ELSE 'reporting' END
		FROM edges ORDER BY first_seen, id`, silentAfter.Seconds(), edgesForgotten.Seconds())
	if err != nil {
		return nil, wrap(err, "list the edges")
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Edge])
	return list, wrap(err, "list the edges")
}

// ForgetEdge has nobody wait any more for an edge that was silent for silentAfter. It must have stopped for good: one that still goes by its
// copy could lead to a tenant of which it hasn't heard. Errors: ErrEdgeNotFound, ErrEdgeReporting.
func ForgetEdge(ctx context.Context, tx pgx.Tx, id string, silentAfter time.Duration) (Edge, error) {
	e := Edge{ID: id}
	var silent bool
	err := tx.QueryRow(ctx, "SELECT first_seen, as_of, as_of < now() - make_interval(secs => $2) FROM edges WHERE id = $1 FOR UPDATE",
		id, silentAfter.Seconds()).Scan(&e.FirstSeen, &e.AsOf, &silent)
	switch {
	case postgres.NoRows(err):
		return e, ErrEdgeNotFound
	case err != nil:
		return e, wrap(err, "look at an edge")
	case !silent:
		return e, ErrEdgeReporting
	}
	_, err = tx.Exec(ctx, "DELETE FROM edges WHERE id = $1", id)
	return e, wrap(err, "forget an edge")
}
