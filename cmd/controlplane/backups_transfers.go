package main

import (
	"fmt"

	"controlplane/internal/api"
	"controlplane/internal/backup"
	"controlplane/internal/backup/pgtools"
)

// wireIntake sets up uploads of backups, which need a disk and the store.
func (p *platform) wireIntake() error {
	place, keys, err := openStore(p.cfg.Backup)
	if err != nil {
		return err
	}
	p.intake, err = backup.NewIntake(backup.IntakeDeps{Desk: p.backupDesk, Store: place, Keys: keys, Log: p.log},
		backup.IntakeOptions{Dir: p.cfg.Backup.UploadDir(), Largest: int64(p.cfg.Backup.ImportGB) << 30})
	if err != nil {
		return fmt.Errorf("BACKUP_DIR: %w", err)
	}
	return nil
}

// wireTransfers has w make zips of backups, neutral dumps for them, and backups of what is uploaded. All take PostgreSQL's programs.
func (p *platform) wireTransfers(w *backup.Worker) error {
	c := p.cfg.Cluster
	server, err := pgtools.New(pgtools.Options{Host: c.Host, Port: c.Port, SSLMode: c.SSLMode, RootCertFile: c.RootCert, Image: p.cfg.Engine.PostgresImage, Tools: p.engine})
	if err != nil {
		return fmt.Errorf("set up downloads of backups: %w", err)
	}
	if p.packer, err = backup.NewPacker(w, server); err != nil {
		return fmt.Errorf("set up downloads of backups: %w", err)
	}
	neutraliser, err := backup.NewNeutraliser(w, sandbox{p.provision}, server)
	if err != nil {
		return fmt.Errorf("set up neutralised downloads of backups: %w", err)
	}
	neutraliser.Register()
	importer, err := backup.NewImporter(w, p.cluster, server)
	if err != nil {
		return fmt.Errorf("set up imports of backups: %w", err)
	}
	importer.Register()
	return nil
}

// transfers are what the API has of both; an interface that holds a nil pointer isn't nil.
func (p *platform) transfers() (zips api.Zipper, imports api.Importer) {
	if p.packer != nil {
		zips = p.packer
	}
	if p.intake != nil {
		imports = p.intake
	}
	return zips, imports
}
