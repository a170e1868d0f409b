package edge

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

const (
	routesChannel       = "edge_routes"
	certificatesChannel = "edge_certificates"
)

// feed keeps the table true until ctx ends. While PostgreSQL is away the table stays as it was.
func (e *Edge) feed(ctx context.Context) {
	postgres.Listener{
		Config: e.opts.Pool.Config().ConnConfig, Channels: []string{routesChannel, certificatesChannel}, Log: e.log, Interval: e.opts.ResyncInterval,
		Sync: e.sync, Notified: e.apply, Lost: func() { e.table.setConnected(false) },
	}.Run(ctx)
}

// sync reads the whole table.
func (e *Edge) sync(ctx context.Context, conn *pgx.Conn, _ bool) error {
	routes, err := tenants.Routes(ctx, conn)
	if err != nil {
		return err
	}
	e.table.replace(routes, time.Now())
	e.table.setConnected(true)
	e.certificatesChanged()
	e.domainsChanged()
	return nil
}

// apply reads one tenant's route again.
func (e *Edge) apply(ctx context.Context, conn *pgx.Conn, n *pgconn.Notification) error {
	if n.Channel == certificatesChannel {
		e.certificatesChanged()
		return nil
	}
	id, err := strconv.ParseInt(n.Payload, 10, 64)
	if err != nil {
		return fmt.Errorf("a notification that isn't a tenant's id: %q", n.Payload)
	}
	route, found, err := tenants.RouteOf(ctx, conn, tenants.ID(id))
	switch {
	case err != nil:
		return err
	case found:
		e.table.set(route)
		if len(route.Domains) > 0 {
			e.domainsChanged()
		}
	default:
		e.table.drop(tenants.ID(id))
	}
	return nil
}
