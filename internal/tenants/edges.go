package tenants

import (
	"context"
	"time"

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
