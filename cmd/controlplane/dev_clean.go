package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"controlplane/internal/config"
	"controlplane/internal/postgres"
	"controlplane/internal/provision/docker"
	"controlplane/internal/provision/pgcluster"
)

const tenantStopGrace = 10 * time.Second

// installationFile keeps the installation's id, so that stop and clean know what is ours while the database is down.
const installationFile = "installation"

// stop stops the tenants and the databases, keeping all data.
func (d *dev) stop(ctx context.Context) error {
	if err := d.state.lock(); err != nil {
		return err
	}
	if err := d.stopTenants(ctx); err != nil {
		d.say("tenants: %v", err)
	}
	names, err := devObjects(ctx, d.state.instance, "container")
	if err != nil {
		return err
	}
	for _, name := range names {
		d.say("stopping %s", name)
		if _, err := engineCLI(ctx, "stop", "--time", "30", name); err != nil {
			return err
		}
	}
	return nil
}

// clean removes what this installation made on the engine, dev's own servers and the state folder.
func (d *dev) clean(ctx context.Context) error {
	if err := d.state.lock(); err != nil {
		return err
	}
	if err := d.removeTenants(ctx); err != nil {
		return fmt.Errorf("remove the tenants' containers: %w", err)
	}
	for _, kind := range []string{"container", "volume"} {
		names, err := devObjects(ctx, d.state.instance, kind)
		if err != nil {
			return err
		}
		for _, name := range names {
			d.say("removing %s %s", kind, name)
			args := []string{"rm", "--force", "--volumes", name}
			if kind == "volume" {
				args = []string{"volume", "rm", name}
			}
			if _, err := engineCLI(ctx, args...); err != nil {
				return err
			}
		}
	}
	d.say("removing %s", filepath.Base(d.state.dir))
	return os.RemoveAll(d.state.dir)
}

func (d *dev) rememberInstallation(ctx context.Context, cfg config.Config) error {
	pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 1})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer pool.Close()
	id, err := postgres.InstallationID(ctx, pool)
	if err != nil {
		return err
	}
	return d.state.writeFile(installationFile, id, 0o600)
}

// installation returns the id, or "" before the first start has come far enough to make anything.
func (d *dev) installation() (string, error) {
	text, err := os.ReadFile(d.state.path(installationFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// engineRuntime is the adapter for what bears our installation's label; nil when there is nothing yet.
func (d *dev) engineRuntime() (*docker.Runtime, error) {
	id, err := d.installation()
	if err != nil || id == "" {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	return docker.New(docker.Options{Host: d.setting("DOCKER_SOCKET_PATH"), Installation: id, Binary: self})
}

// ours opens the engine's adapter and lists what bears our installation's label. The adapter is nil when there is nothing yet.
func (d *dev) ours(ctx context.Context) (*docker.Runtime, []docker.Object, error) {
	runtime, err := d.engineRuntime()
	if err != nil || runtime == nil {
		return nil, nil, err
	}
	objects, err := runtime.Objects(ctx)
	return runtime, objects, err
}

// stopTenants stops every container of the installation; the firewall's rules stay in the kernel.
func (d *dev) stopTenants(ctx context.Context) error {
	runtime, objects, err := d.ours(ctx)
	if err != nil || runtime == nil {
		return err
	}
	return d.stopContainers(ctx, runtime, objects)
}

func (d *dev) stopContainers(ctx context.Context, runtime *docker.Runtime, objects []docker.Object) error {
	for _, o := range objects {
		if o.Kind != "container" {
			continue
		}
		d.say("stopping %s", o.Name)
		if err := runtime.StopContainer(ctx, o.Name, tenantStopGrace); err != nil {
			return err
		}
	}
	return nil
}

// removeTenants removes what the installation has on the engine and, on a server that isn't dev's own, its databases and roles.
func (d *dev) removeTenants(ctx context.Context) error {
	runtime, objects, err := d.ours(ctx)
	if err != nil || runtime == nil {
		return err
	}
	// The firewall goes while no tenant runs, and before its guard, which would put it back.
	if err := d.stopContainers(ctx, runtime, objects); err != nil {
		return err
	}
	if err := runtime.RemoveFirewall(ctx); err != nil {
		return err
	}
	for _, o := range objects {
		d.say("removing %s %s", o.Kind, o.Name)
		switch o.Kind {
		case "container":
			err = runtime.RemoveContainer(ctx, o.Name)
		case "network":
			err = runtime.RemoveNetwork(ctx, o.Name)
		default:
			err = runtime.RemoveVolume(ctx, o.Name)
		}
		if err != nil {
			return err
		}
	}
	if d.ownCluster() {
		return nil // the whole server goes
	}
	return d.removeDatabases(ctx)
}

// removeDatabases drops the tenants' and templates' databases on a server that the user brought. The platform database that the
// user brought is left: only its owner may say what else is in it.
func (d *dev) removeDatabases(ctx context.Context) error {
	if d.ownPlatform() { // which knows their names, and may be stopped
		if err := d.startPlatformDatabase(ctx); err != nil {
			return err
		}
	}
	cfg, err := config.Load(d.environ, config.PartPlatform, config.PartCluster)
	if err != nil {
		return err
	}
	id, err := d.installation()
	if err != nil {
		return err
	}
	pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 1})
	if err != nil {
		return fmt.Errorf("DATABASE_URL: %w", err)
	}
	defer pool.Close()
	cluster, err := pgcluster.New(ctx, clusterOptions(cfg, id, nil))
	if err != nil {
		return fmt.Errorf("EXTERNAL_DB_*: %w", err)
	}
	defer cluster.Close()
	const q = `SELECT db_name, 'tenant/' || id FROM tenants UNION ALL SELECT database_name, '' FROM templates`
	rows, err := pool.Query(ctx, q)
	if err != nil {
		return fmt.Errorf("list the databases: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, subject string
		if err := rows.Scan(&name, &subject); err != nil {
			return fmt.Errorf("list the databases: %w", err)
		}
		d.say("removing database %s", name)
		if subject == "" {
			err = cluster.RemoveTemplate(ctx, name)
		} else {
			err = cluster.RemoveTenant(ctx, name, subject)
		}
		if err != nil {
			return err
		}
	}
	return rows.Err()
}
