package pgcluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision"
)

var _ provision.DatabaseMeter = (*Cluster)(nil)

// DatabaseSize asks for one database at a time: one that is just being dropped would fail a statement about all of them.
func (c *Cluster) DatabaseSize(ctx context.Context, name string) (int64, error) {
	var size int64
	err := c.pool.QueryRow(ctx, "SELECT coalesce(pg_database_size(oid), 0) FROM pg_database WHERE datname = $1", name).Scan(&size)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, classify(fmt.Errorf("measure database %s: %w", name, err))
	}
	return size, nil
}

// Load counts by database: who is connected is hidden from roles like ours, how many are isn't.
func (c *Cluster) Load(ctx context.Context) (provision.DatabaseLoad, error) {
	var load provision.DatabaseLoad
	err := c.pool.QueryRow(ctx, `
		SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
		       (SELECT coalesce(sum(numbackends), 0)::int FROM pg_stat_database)`).Scan(&load.MaxConnections, &load.Connections)
	if err != nil {
		return load, classify(fmt.Errorf("measure the tenants' database server: %w", err))
	}
	return load, nil
}

// FreeBytes goes by what the databases take of the disk that we were told of: a server says what it has to nobody but superusers.
func (c *Cluster) FreeBytes(ctx context.Context) (free int64, known bool, err error) {
	if c.disk == 0 {
		return 0, false, nil
	}
	var used int64
	if err := c.pool.QueryRow(ctx, "SELECT pg_tablespace_size('pg_default')").Scan(&used); err != nil {
		return 0, false, classify(fmt.Errorf("measure all databases: %w", err))
	}
	return c.disk - used, true, nil
}
