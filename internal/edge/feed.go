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
	rereadTimeout       = time.Minute
)

// feed keeps the table true until ctx ends. While PostgreSQL is away the table stays as it was.
func (e *Edge) feed(ctx context.Context) {
	var again reread
	postgres.Listener{
		Config: e.opts.Pool.Config().ConnConfig, Channels: []string{routesChannel, certificatesChannel}, Log: e.log, Interval: e.opts.ResyncInterval,
		Sync: func(bounded context.Context, conn *pgx.Conn, first bool) error {
			if first {
				return e.sync(bounded, conn)
			}
			again.begin(ctx, e.resync)
			return conn.Ping(bounded)
		},
		Notified: e.apply,
		Lost: func() {
			again.stop() // what it has read may be older than what the next connection reads
			e.table.setConnected(false)
		},
	}.Run(ctx)
}

// reread is a reading of the whole table beside the connection on which changes are heard, and which it would keep from hearing them.
type reread struct {
	cancel context.CancelFunc
	done   chan struct{} // nil: there was none yet
}

// begin starts another reading, unless the one before isn't over.
func (r *reread) begin(ctx context.Context, read func(context.Context)) {
	select {
	case <-r.done:
	default:
		if r.done != nil {
			return
		}
	}
	r.stop()
	ctx, r.cancel = context.WithTimeout(ctx, rereadTimeout)
	done := make(chan struct{})
	r.done = done
	go func() {
		defer close(done)
		read(ctx)
	}()
}

// stop returns when nothing is read any more.
func (r *reread) stop() {
	if r.done != nil {
		r.cancel()
		<-r.done
	}
}

// resync finds what no notification told of: a changed plan's limits, say.
func (e *Edge) resync(ctx context.Context) {
	if err := e.sync(ctx, e.opts.Pool); err != nil && ctx.Err() == nil {
		e.log.WarnContext(ctx, "edge couldn't compare its routes", "error", err)
	}
}

// sync reads the whole table.
func (e *Edge) sync(ctx context.Context, q postgres.Querier) error {
	e.table.beginReading()
	routes, asOf, err := tenants.RoutesAsOf(ctx, q)
	if err != nil {
		return err
	}
	newDomains := e.table.merge(routes, asOf)
	e.table.synced(time.Now())
	e.table.setConnected(true)
	e.certificatesChanged()
	if newDomains {
		e.domainsChanged()
	}
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
	case !found:
		e.table.drop(tenants.ID(id))
	case e.table.set(route):
		e.domainsChanged()
	}
	return nil
}
