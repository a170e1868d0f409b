package main

import (
	"fmt"

	"controlplane/internal/backup"
	"controlplane/internal/backup/archive"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/backup/store"
	"controlplane/internal/config"
	"controlplane/internal/provision"
)

// newBackups returns nil when there is no place for backups.
func newBackups(d *domain, cfg config.Config) (*backup.Service, error) {
	if !cfg.Backup.Configured() {
		return nil, nil //nolint:nilnil // having none is a configuration
	}
	s, err := backup.New(backup.Deps{Pool: d.pool, Ops: d.ops, Tenants: d.tenants}, backup.Options{Prefix: cfg.Backup.KeyPrefix()})
	if err != nil {
		return nil, fmt.Errorf("set up backups: %w", err)
	}
	return s, nil
}

// openStore returns the store of backups and the keys of what lies there.
func openStore(b config.Backup) (*store.Store, *archive.Keys, error) {
	keys, err := archive.NewKeys(b.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("BACKUP_KEY: %w", err)
	}
	s, err := store.New(store.Options{
		Endpoint: b.Endpoint, Region: b.Region, Bucket: b.Bucket, AccessKey: b.AccessKey, SecretKey: b.SecretKey, VirtualHost: b.VirtualHost,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("S3_*: %w", err)
	}
	return s, keys, nil
}

// wireBackups has the workers take backups.
func (p *platform) wireBackups() error {
	if p.backups == nil {
		return nil
	}
	w, err := p.newBackupWorker(p.backups)
	if err != nil {
		return err
	}
	w.Register()
	return p.wireTransfers(w)
}

// newBackupWorker is what takes backups; p has provisioning.
func (p *platform) newBackupWorker(backups *backup.Service) (*backup.Worker, error) {
	place, keys, err := openStore(p.cfg.Backup)
	if err != nil {
		return nil, err
	}
	c := p.cfg.Cluster
	server, err := pgtools.New(pgtools.Options{Host: c.Host, Port: c.Port, SSLMode: c.SSLMode, RootCertFile: c.RootCert, Image: p.cfg.Engine.PostgresImage, Tools: p.engine})
	if err != nil {
		return nil, fmt.Errorf("set up backups: %w", err)
	}
	w, err := backup.NewWorker(backup.WorkerDeps{
		Backups: backups, Store: place, Keys: keys, Database: server, Volumes: p.engine, Cluster: p.cluster, Runner: p.provision,
		Sandbox: sandbox{p.provision}, Log: p.log,
	}, backup.WorkerOptions{Image: p.cfg.Engine.PostgresImage, Filestore: provision.Filestore, AtOnce: int64(p.cfg.Backup.Parallel)})
	if err != nil {
		return nil, fmt.Errorf("set up backups: %w", err)
	}
	return w, nil
}
