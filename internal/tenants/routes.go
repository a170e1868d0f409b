package tenants

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// Route is what the edge knows of a tenant. Address is the zero Addr until there is a container.
type Route struct {
	TenantID  ID
	Name      string
	Host      string   // platform address, lower case
	Domains   []string `json:",omitempty"` // its own, proven, as they come in a Host header
	State     State    // as its address shows it; that of the row, except on the way to another
	Address   netip.Addr
	HTTPPort  int
	EventPort int

	MaxBodyMB      int // of one request, by the tenant's plan
	MaxConnections int // at a time, by the tenant's plan
}

// While a tenant goes from one state to another, its address shows where it goes: one that is being suspended is closed at once, and one
// that is being started again lets our probe through, as a new one does.
const routeColumns = `id, name, domain, CASE
		WHEN desired = 'suspended' AND state IN ('active', 'sleeping') THEN 'suspended'
		WHEN desired = 'active' AND state IN ('suspended', 'scheduled_for_deletion') THEN 'provisioning'
		ELSE state END, coalesce(host(address), ''), http_port, event_port,
	(SELECT array_agg(d.domain ORDER BY d.domain) FROM tenant_domains d WHERE d.tenant_id = tenants.id AND d.status <> 'pending'),
	(SELECT max_body_mb FROM plans WHERE plans.id = plan_id), (SELECT max_connections FROM plans WHERE plans.id = plan_id)`

func scanRoute(row pgx.CollectableRow) (Route, error) {
	var r Route
	var address string
	err := row.Scan(&r.TenantID, &r.Name, &r.Host, &r.State, &address, &r.HTTPPort, &r.EventPort, &r.Domains, &r.MaxBodyMB, &r.MaxConnections)
	if err != nil || address == "" {
		return r, err
	}
	r.Address, err = netip.ParseAddr(address)
	return r, err
}

// Routes returns all tenants that aren't deleted, for the edge's table.
func Routes(ctx context.Context, q postgres.Querier) ([]Route, error) {
	rows, err := q.Query(ctx, `SELECT `+routeColumns+` FROM tenants WHERE state <> 'deleted' ORDER BY id`)
	if err != nil {
		return nil, wrap(err, "read the routes")
	}
	list, err := pgx.CollectRows(rows, scanRoute)
	return list, wrap(err, "read the routes")
}

// RouteOf returns one tenant's route; false when it is deleted or never was.
func RouteOf(ctx context.Context, q postgres.Querier, id ID) (Route, bool, error) {
	rows, err := q.Query(ctx, `SELECT `+routeColumns+` FROM tenants WHERE id = $1 AND state <> 'deleted'`, id)
	if err != nil {
		return Route{}, false, wrap(err, "read a route")
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRoute)
	if postgres.NoRows(err) {
		return Route{}, false, nil
	}
	return r, err == nil, wrap(err, "read a route")
}
