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

// The roles on dev's platform database: the server's superuser, who migrates, and what the platform runs as.
const (
	devOwner  = "platform"
	devLesser = "platform_app"
)

// startPlatformDatabase runs the platform's own server, reachable on loopback only, and sets the URLs of its two roles.
func (d *dev) startPlatformDatabase(ctx context.Context) error {
	name := d.state.container("platform-db")
	if err := d.state.writeFile("platform-db.password", d.setting("DEV_PLATFORM_PASSWORD"), 0o600); err != nil {
		return err
	}
	port := d.setting("DEV_PLATFORM_DB_PORT")
	err := ensureService(ctx, d.state.instance, name, portSetting{"DEV_PLATFORM_DB_PORT", port},
		"--publish", "127.0.0.1:"+port+":5432",
		"--volume", name+":"+pgData, "--env", "PGDATA="+pgData,
		"--volume", d.state.path("platform-db.password")+":/run/secrets/password:ro",
		"--env", "POSTGRES_PASSWORD_FILE=/run/secrets/password", "--env", "POSTGRES_USER="+devOwner, "--env", "POSTGRES_DB=platform",
		d.setting("POSTGRES_IMAGE"), "-c", "max_connections=100")
	if err != nil {
		return fmt.Errorf("start the platform database: %w", err)
	}
	owner := databaseURL(devOwner, d.setting("DEV_PLATFORM_PASSWORD"), "127.0.0.1:"+port, "platform")
	if err := waitForDatabase(ctx, owner); err != nil {
		return err
	}
	d.environ["MIGRATE_DATABASE_URL"] = owner
	d.environ["DATABASE_URL"] = databaseURL(devLesser, d.setting("DEV_PLATFORM_APP_PASSWORD"), "127.0.0.1:"+port, "platform")
	return ensureLogin(ctx, owner, devLesser, d.setting("DEV_PLATFORM_APP_PASSWORD"))
}

// ensureLogin makes a role that can log in and nothing else. One that is there gets the password, so that a state folder of an earlier
// release goes on.
func ensureLogin(ctx context.Context, superuser, role, password string) error {
	conn, err := pgx.Connect(ctx, superuser)
	if err != nil {
		return fmt.Errorf("connect to make a role: %w", err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var statement string
	err = conn.QueryRow(ctx, `
		SELECT format(CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text) THEN 'ALTER' ELSE 'CREATE' END
			|| ' ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L', $1::text, $2::text)`, role, password).Scan(&statement)
	if err == nil {
		_, err = conn.Exec(ctx, statement)
	}
	if err != nil {
		return fmt.Errorf("make role %s: %w", role, err)
	}
	return nil
}

// startCluster runs the tenants' server on the host's own network: tenants reach it at the gateway of their network, which a
// container on a bridge of its own could not serve. Who may connect is pg_hba's business.
func (d *dev) startCluster(ctx context.Context, supernet netip.Prefix) error {
	name := d.state.container("tenants-db")
	if err := d.state.writeFile("tenants-db.password", d.setting("DEV_CLUSTER_PASSWORD"), 0o600); err != nil {
		return err
	}
	if err := d.state.writeFile("pg_hba.conf", pgcluster.HBA(supernet, d.setting("EXTERNAL_DB_USER")), 0o644); err != nil {
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
