package main

import (
	"context"
	"fmt"
	"io"

	"controlplane/internal/api"
	"controlplane/internal/backup"
	"controlplane/internal/backup/pgtools"
	"controlplane/internal/inspect"
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
func (p *platform) transfers() (zips api.Zipper, imports api.Importer, err error) {
	if p.intake != nil {
		imports = p.intake
	}
	if p.packer != nil {
		return p.packer, imports, nil
	}
	worker, err := p.remoteWorker()
	if worker != nil && p.backups != nil {
		zips = remoteZips{worker}
	}
	return zips, imports, err
}

// remoteZips has a worker elsewhere make zips.
type remoteZips struct{ worker *inspect.Client }

// Zip implements api.Zipper.
func (z remoteZips) Zip(ctx context.Context, d backup.Download, w io.Writer) error {
	order, err := d.Carry()
	if err != nil {
		return err //nolint:wrapcheck // it says what it did
	}
	return z.worker.Zip(ctx, order, w) //nolint:wrapcheck // likewise
}

// zipFor makes zips for processes without a worker; nil: there is no place for backups.
func (p *platform) zipFor() func(ctx context.Context, order []byte, w io.Writer) error {
	if p.packer == nil {
		return nil
	}
	return func(ctx context.Context, order []byte, w io.Writer) error {
		d, err := p.backups.Carried(ctx, order)
		if err != nil {
			return err //nolint:wrapcheck // its errors are told as they are
		}
		return p.packer.Zip(ctx, d, w) //nolint:wrapcheck // likewise
	}
}
