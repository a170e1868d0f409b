package main

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/backup"
	"controlplane/internal/cleanup"
	"controlplane/internal/provision"
	"controlplane/internal/tenants"
)

// wireBackupPlans sets up who decides about backups; without a place for them there is nobody.
func (p *platform) wireBackupPlans() error {
	if p.backups == nil {
		return nil
	}
	var err error
	if p.backupPlans, err = p.newPlanner(p.backups); err != nil {
		return err
	}
	p.metrics.MustRegister(p.backupPlans)
	p.backupDesk, err = backup.NewDesk(backup.DeskDeps{Pool: p.pool, Backups: p.backups, Tenants: p.tenants, Audit: p.audit},
		backup.DeskOptions{LinkLife: p.cfg.Backup.LinkLife()})
	if err != nil {
		return fmt.Errorf("set up requests for backups: %w", err)
	}
	return p.wireIntake()
}

func (p *platform) newPlanner(backups *backup.Service) (*backup.Planner, error) {
	zone, err := p.cfg.BackupZone()
	if err != nil {
		return nil, fmt.Errorf("BACKUP_TIMEZONE: %w", err)
	}
	planner, err := backup.NewPlanner(backup.PlannerDeps{Pool: p.pool, Backups: backups, Log: p.log, Lacking: lackingFor(p.capacity)}, backup.PlannerOptions{
		Zone: zone, Parallel: p.cfg.Backup.Parallel, Final: p.cfg.Backup.FinalRetention(), Overdue: time.Duration(p.cfg.Backup.MaxAge) * time.Hour,
		Unproven: time.Duration(p.cfg.Backup.ProofMaxAge) * 24 * time.Hour, ProveAtOnce: p.cfg.Backup.Proofs,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the schedule of backups: %w", err)
	}
	return planner, nil
}

// finalBackup is what deletions wait for, or nil.
func (p *platform) finalBackup() provision.FinalBackup {
	if p.backups == nil {
		return nil
	}
	return finalBackup{p.backups}
}

// copies is nil without backups.
func (p *platform) copies() provision.Copies {
	if p.backups == nil {
		return nil
	}
	return p.backups
}

// finalBackup lets a deletion wait for what the backup workers do.
type finalBackup struct{ backups *backup.Service }

// Ensure implements provision.FinalBackup.
func (f finalBackup) Ensure(ctx context.Context, t tenants.Tenant) error {
	done, err := f.backups.EnsureFinal(ctx, t.ID)
	if err == nil && !done {
		return provision.ErrBackupGoingOn
	}
	return err
}

func (p *platform) backupSweeps() []cleanup.Sweep {
	return []cleanup.Sweep{
		{
			Name: "backups", Description: "Asks for the backups of clients that are due, a few at a time", Cron: "@every 30s",
			Run: cleanup.Counted(p.backupPlans.TakeDue),
		},
		{
			Name: "backup_retention", Description: "Marks weekly and monthly backups, and removes those that nobody needs any more", Cron: "20 * * * *",
			Jitter: 5 * time.Minute, Run: cleanup.Counted(p.backupPlans.Prune),
		},
		{
			Name: "backup_proofs", Description: "Has the newest backup of each client restored into a sandbox once a week, and Odoo started on it",
			Cron: "@every 1m", Run: cleanup.Counted(p.backupPlans.ProveDue),
		},
		backupAge(p.watchBackups),
		{
			Name: "imports", Description: "Removes what uploads left that were cut short, and links to download backups that are over", Cron: "40 * * * *",
			Jitter: 5 * time.Minute, Run: cleanup.Counted(p.intake.Sweep),
		},
	}
}

func backupAge(watch func(ctx context.Context) error) cleanup.Sweep {
	return cleanup.Sweep{
		Name: "backup_age", Description: "Tells operators of running clients whose newest good backup or newest proven one is too old", Cron: "*/15 * * * *",
		Jitter: time.Minute, AtStart: true, Run: cleanup.Plain(watch),
	}
}

// missingBackups is all that is done where there is no place for backups, or no longer.
func (p *platform) missingBackups(ctx context.Context) error {
	backups, err := backup.New(backup.Deps{Pool: p.pool, Ops: p.ops, Tenants: p.tenants}, backup.Options{})
	if err != nil {
		return fmt.Errorf("set up backups: %w", err)
	}
	planner, err := p.newPlanner(backups)
	if err != nil {
		return err
	}
	return planner.WatchWithout(ctx)
}

func (p *platform) watchBackups(ctx context.Context) error {
	_, err := p.backupPlans.Watch(ctx)
	return err
}
