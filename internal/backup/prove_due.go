package backup

import (
	"context"
	"fmt"
	"time"

	"controlplane/internal/accounts"
	"controlplane/internal/backup/timing"
)

const (
	// sandboxMemoryMB is what a trial's Odoo may use, and diskFactor what a backup takes when it is restored: indexes, and what the server
	// writes ahead.
	sandboxMemoryMB = 2048
	diskFactor      = 3
	// restless is after how many trials that failed a client's backups are only tried once a day.
	restless = 3
)

// ProveDue asks for the trials that are due, as many as may be under way, and returns how many it asked for. Each client's turn comes once a
// week. While the hosts lack memory or disk it asks for none: Watch tells when that has gone on for too long.
func (p *Planner) ProveDue(ctx context.Context) (asked int, err error) {
	if err := p.deps.Backups.failStuckTrials(ctx); err != nil {
		return 0, err
	}
	var running int
	err = p.deps.Pool.QueryRow(ctx, "SELECT count(*) FROM backup_proofs WHERE state = 'running'").Scan(&running)
	if err != nil {
		return 0, fmt.Errorf("count the trials under way: %w", err)
	}
	if running >= p.opts.ProveAtOnce {
		return 0, nil
	}
	list, err := p.turns(ctx)
	if err != nil {
		return 0, err
	}
	now := p.deps.Now()
	for _, t := range list {
		if running+asked >= p.opts.ProveAtOnce {
			break
		}
		if !t.due(now) {
			continue
		}
		if lacking, err := p.lacking(ctx, t); err != nil || lacking != "" {
			p.deps.Log.InfoContext(ctx, "no trial of a backup for now", "tenant", t.tenant, "lacking", lacking)
			return asked, err
		}
		_, err := p.deps.Backups.Prove(ctx, t.backup, accounts.System().Username)
		switch {
		case passing(err):
		case err != nil:
			return asked, fmt.Errorf("ask for a trial of backup %s: %w", t.backup, err)
		default:
			asked++
		}
	}
	return asked, nil
}

// due reports whether it is the client's turn. What failed is tried again after an hour, with the next newest backup; what keeps failing,
// once a day.
func (t turn) due(now time.Time) bool {
	h := timing.History{Since: t.first}
	if t.proven != nil {
		h.Covered = *t.proven
	}
	if t.tried != nil {
		h.Tried = *t.tried
		if t.failures >= restless && now.Sub(h.Tried) < 24*time.Hour {
			return false
		}
	}
	return timing.Due(timing.Weekly(int64(t.tenant)), h, now)
}

func (p *Planner) lacking(ctx context.Context, t turn) (string, error) {
	if p.deps.Lacking == nil {
		return "", nil
	}
	return p.deps.Lacking(ctx, sandboxMemoryMB, t.bytes*diskFactor>>20)
}
