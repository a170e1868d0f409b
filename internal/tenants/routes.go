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
const routeColumns = `t.id, t.name, t.domain, CASE
		WHEN t.desired = 'suspended' AND t.state IN ('active', 'sleeping') THEN 'suspended'
		WHEN t.desired = 'active' AND t.state IN ('suspended', 'scheduled_for_deletion') THEN 'provisioning'
		ELSE t.state END, coalesce(host(t.address), ''), t.http_port, t.event_port, d.domains, p.max_body_mb, p.max_connections
	FROM tenants t JOIN plans p ON p.id = t.plan_id`

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
	rows, err := q.Query(ctx, `SELECT `+routeColumns+`
		LEFT JOIN (SELECT tenant_id, array_agg(domain ORDER BY domain) AS domains FROM tenant_domains WHERE status <> 'pending' GROUP BY tenant_id) d
			ON d.tenant_id = t.id
		WHERE t.state <> 'deleted' ORDER BY t.id`)
	if err != nil {
		return nil, wrap(err, "read the routes")
	}
	list, err := pgx.CollectRows(rows, scanRoute)
	return list, wrap(err, "read the routes")
}

// RouteOf returns one tenant's route; false when it is deleted or never was.
func RouteOf(ctx context.Context, q postgres.Querier, id ID) (Route, bool, error) {
	rows, err := q.Query(ctx, `SELECT `+routeColumns+`
		CROSS JOIN (SELECT array_agg(domain ORDER BY domain) AS domains FROM tenant_domains WHERE tenant_id = $1 AND status <> 'pending') d
		WHERE t.id = $1 AND t.state <> 'deleted'`, id)
	if err != nil {
		return Route{}, false, wrap(err, "read a route")
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanRoute)
	if postgres.NoRows(err) {
		return Route{}, false, nil
	}
	return r, err == nil, wrap(err, "read a route")
}
