package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/provision/pgcluster"
)

const (
	databaseStartTimeout = 2 * time.Minute
	pgData               = "/var/lib/postgresql/data"
)

// startPlatformDatabase runs the platform's own server, reachable on loopback only, and returns its URL.
func (d *dev) startPlatformDatabase(ctx context.Context) (string, error) {
	name := d.state.container("platform-db")
	if err := d.state.writeFile("platform-db.password", d.setting("DEV_PLATFORM_PASSWORD"), 0o600); err != nil {
		return "", err
	}
	port := d.setting("DEV_PLATFORM_DB_PORT")
	err := ensureService(ctx, d.state.instance, name, portSetting{"DEV_PLATFORM_DB_PORT", port},
		"--publish", "127.0.0.1:"+port+":5432",
		"--volume", name+":"+pgData, "--env", "PGDATA="+pgData,
		"--volume", d.state.path("platform-db.password")+":/run/secrets/password:ro",
		"--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password", "--env", "POSTGRES_USER=platform", "--env", "POSTGRES_DB=platform",
		d.setting("POSTGRES_IMAGE"), "-c", "max_connections=100")
	if err != nil {
		return "", fmt.Errorf("start the platform database: %w", err)
	}
	dsn := databaseURL("platform", d.setting("DEV_PLATFORM_PASSWORD"), "127.0.0.1:"+port, "platform")
	return dsn, waitForDatabase(ctx, dsn)
}

// startCluster runs the tenants' server on the host's own network: tenants reach it at the gateway of their network, which a
// container on a bridge of its own could not serve. Who may connect is pg_hba's business.
func (d *dev) startCluster(ctx context.Context, supernet netip.Prefix) error {
	name := d.state.container("tenants-db")
	if err := d.state.writeFile("tenants-db.password", d.setting("DEV_CLUSTER_PASSWORD"), 0o600); err != nil {
		return err
	}
	if err := d.state.writeFile("pg_hba.conf", pgcluster.HBA(supernet), 0o644); err != nil {
		return err
	}
	port := d.setting("EXTERNAL_DB_PORT")
	err := ensureService(ctx, d.state.instance, name, portSetting{"EXTERNAL_DB_PORT", port},
		"--network", "host", "--shm-size", "256m",
		"--volume", name+":"+pgData, "--env", "PGDATA="+pgData,
		"--volume", d.state.path("tenants-db.password")+":/run/secrets/password:ro",
		"--volume", d.state.path("pg_hba.conf")+":/etc/postgresql-hba.conf:ro",
		"--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password",
		d.setting("POSTGRES_IMAGE"),
		"-c", "port="+port, "-c", "listen_addresses=*", "-c", "hba_file=/etc/postgresql-hba.conf", "-c", "max_connections=400",
		"-c", "shared_buffers=256MB", "-c", "password_encryption=scram-sha-256", "-c", "max_wal_size=4GB")
	if err != nil {
		return fmt.Errorf("start the tenants' database server: %w", err)
	}
	admin := databaseURL("postgres", d.setting("DEV_CLUSTER_PASSWORD"), "127.0.0.1:"+port, "postgres")
	if err := waitForDatabase(ctx, admin); err != nil {
		return err
	}
	return d.setUpCluster(ctx, admin)
}

func databaseURL(user, password, host, name string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: host, Path: "/" + name, RawQuery: "sslmode=disable"}
	return u.String()
}

// waitForDatabase polls until the server takes connections: the first start of a server takes seconds.
func waitForDatabase(ctx context.Context, dsn string) error {
	bounded, cancel := context.WithTimeout(ctx, databaseStartTimeout)
	defer cancel()
	var last error
	for {
		conn, err := pgx.Connect(bounded, dsn)
		if err == nil {
			return conn.Close(bounded)
		}
		if bounded.Err() == nil {
			last = err
		}
		select {
		case <-bounded.Done():
			if ctx.Err() != nil { // Ctrl-C
				return ctx.Err()
			}
			return errors.Join(errors.New("the database server didn't start in time"), last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
