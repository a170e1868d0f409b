package edge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/tenants"
)

const (
	certificatesChannel = "edge_certificates"

	firstRetry   = 100 * time.Millisecond
	longestRetry = 5 * time.Second
	readTimeout  = 10 * time.Second
)

// feed keeps the table true until ctx ends. While PostgreSQL is away the table stays as it was.
func (e *Edge) feed(ctx context.Context) {
	retry := firstRetry
	for ctx.Err() == nil {
		synced, err := e.listen(ctx)
		e.table.setConnected(false)
		if ctx.Err() != nil {
			return
		}
		if synced {
			retry = firstRetry
		}
		e.log.WarnContext(ctx, "edge goes on with the routes it has", "error", err, "retry_in", retry)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
		retry = min(retry*2, longestRetry)
	}
}

// listen follows the notifications on one connection until that fails. It starts to listen before it reads, so that no change falls
// between. synced tells whether the table was read at all.
func (e *Edge) listen(ctx context.Context) (synced bool, err error) {
	conn, err := e.opts.Pool.Acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("connect to the database: %w", err)
	}
	defer func() {
		_ = conn.Conn().Close(context.WithoutCancel(ctx)) // it listens: not for others to use
		conn.Release()
	}()
	if _, err := conn.Exec(ctx, "LISTEN edge_routes; LISTEN "+certificatesChannel); err != nil {
		return false, fmt.Errorf("listen for changes of routes: %w", err)
	}
	for {
		if err := e.sync(ctx, conn); err != nil {
			return synced, err
		}
		synced = true
		if err := e.follow(ctx, conn); err != nil {
			return synced, err
		}
	}
}

// sync reads the whole table.
func (e *Edge) sync(ctx context.Context, conn *pgxpool.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
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

// follow applies single changes until it is time for a full reading, which also finds out a connection that died silently.
func (e *Edge) follow(ctx context.Context, conn *pgxpool.Conn) error {
	waiting, cancel := context.WithTimeout(ctx, e.opts.ResyncInterval)
	defer cancel()
	for {
		n, err := conn.Conn().WaitForNotification(waiting)
		if err != nil {
			if ctx.Err() == nil && errors.Is(waiting.Err(), context.DeadlineExceeded) && !conn.Conn().IsClosed() {
				return nil
			}
			return fmt.Errorf("wait for changes of routes: %w", err)
		}
		if n.Channel == certificatesChannel {
			e.certificatesChanged()
			continue
		}
		if err := e.apply(ctx, conn, n.Payload); err != nil {
			return err
		}
	}
}

// apply reads one tenant's route again.
func (e *Edge) apply(ctx context.Context, conn *pgxpool.Conn, payload string) error {
	id, err := strconv.ParseInt(payload, 10, 64)
	if err != nil {
		return fmt.Errorf("a notification that isn't a tenant's id: %q", payload)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
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
