package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/alerts"
	"controlplane/internal/postgres"
	"controlplane/internal/tenants"
)

// keptBefore is how long what was there before a restore stays, and what one left that was abandoned.
const keptBefore = 24 * time.Hour

// beingRestored reports whether a restore that hasn't ended needs the backup: as what is restored, in whichever tenant, or as what leads back;
// and so does a tenant that is to be a copy of it. What is asked for later waits for the backup's row.
func beingRestored(ctx context.Context, q postgres.Querier, b Backup) (needed bool, err error) {
	err = q.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM operations WHERE finished_at IS NULL AND kind = $1
			AND (input->'backup_id' = to_jsonb($2::bigint) OR data->$3::text = to_jsonb($2::bigint)))
		OR EXISTS (SELECT FROM tenants WHERE copy_of = $2 AND state NOT IN ('deleting', 'deleted'))`,
		RestoreKind, int64(b.ID), safetyKey).Scan(&needed)
	if err != nil {
		return false, fmt.Errorf("look whether backup %s is being restored: %w", b.ID, err)
	}
	return needed, nil
}

// lastRestore returns when the last restore of a tenant ended, the zero time if nobody remembers one, and whether nothing is being done with
// what restores leave.
func lastRestore(ctx context.Context, q postgres.Querier, subject string) (last time.Time, idle bool, err error) {
	var ended *time.Time
	err = q.QueryRow(ctx, `
		SELECT max(finished_at), count(*) FILTER (WHERE finished_at IS NULL) = 0
			AND NOT EXISTS (SELECT FROM tenants WHERE 'tenant/' || id = $1 AND state = $3)
		FROM operations WHERE subject = $1 AND kind = $2`, subject, RestoreKind, tenants.Maintenance).Scan(&ended, &idle)
	if err != nil {
		return last, false, fmt.Errorf("look for the restores of %s: %w", subject, err)
	}
	if ended != nil {
		last = *ended
	}
	return last, idle, nil
}

// sweepRestores drops what was there before restores that nobody took back, and what abandoned ones left.
func (w *Worker) sweepRestores(ctx context.Context) error {
	dropped, err := w.sweepRestoresBefore(ctx, w.now().Add(-keptBefore))
	if dropped > 0 {
		w.log.InfoContext(ctx, "dropped what was there before restores", "databases and volumes", dropped)
	}
	return err
}

func (w *Worker) sweepRestoresBefore(ctx context.Context, before time.Time) (dropped int, err error) {
	volumes, volumesErr := w.sweepSpares(ctx, before)
	databases, err := w.sweepDatabases(ctx, before)
	return databases + volumes, errors.Join(err, volumesErr)
}

func (w *Worker) sweepDatabases(ctx context.Context, before time.Time) (dropped int, err error) {
	return w.cluster.SweepRestores(ctx, before, func(ctx context.Context, subject string) (time.Time, bool, error) {
		return lastRestore(ctx, w.pool, subject)
	})
}

const (
	// alertStuck is for a client that a restore keeps closed, alertSilent for one that doesn't answer after a restore was taken back.
	alertStuck  = "restore.stuck"
	alertSilent = "restore.not_running"
	// closedFor is how long a restore may keep a client closed before somebody is told: far longer than a swap and two starts take.
	closedFor = 15 * time.Minute
)

// watchRestores tells operators of clients that a restore keeps closed, whatever becomes of the operation, and takes back what was told when
// that is over.
func (w *Worker) watchRestores(ctx context.Context) error {
	rows, err := w.pool.Query(ctx, `
		SELECT t.id, t.name FROM tenants t WHERE t.state = $1 AND
			(SELECT max((o.data->>'swap_at')::timestamptz) FROM operations o WHERE o.subject = 'tenant/' || t.id AND o.kind = $2) < $3`,
		tenants.Maintenance, RestoreKind, w.now().Add(-closedFor))
	if err != nil {
		return fmt.Errorf("look for clients that restores keep closed: %w", err)
	}
	type closed struct {
		ID   tenants.ID
		Name string
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[closed])
	if err != nil {
		return fmt.Errorf("look for clients that restores keep closed: %w", err)
	}
	stuck := map[string]bool{}
	for _, c := range list {
		stuck[c.ID.Subject()] = true
		message := fmt.Sprintf("A restore keeps client %s closed for more than %v. Retry its operation, which ends or undoes it, or restore a backup into the client.", c.Name, closedFor)
		if err := alerts.Raise(ctx, w.pool, alerts.Alert{Kind: alertStuck, Subject: c.ID.Subject(), Message: message}); err != nil {
			return err
		}
	}
	err = w.resolve(ctx, alertStuck, func(a alerts.Record) (bool, error) { return !stuck[a.Subject], nil })
	return errors.Join(err, w.resolve(ctx, alertSilent, func(a alerts.Record) (bool, error) { return w.answers(ctx, a.Subject) }))
}

// openAlerts is how many open alerts of a kind are looked through for ones that are over.
const openAlerts = 500

// resolve takes back the alerts of a kind that are over.
func (w *Worker) resolve(ctx context.Context, kind string, over func(a alerts.Record) (bool, error)) error {
	open, err := alerts.New(w.pool).List(ctx, alerts.Filter{Kind: kind, Limit: openAlerts})
	if err != nil {
		return err
	}
	for _, a := range open {
		done, err := over(a)
		if err == nil && done {
			err = alerts.Resolve(ctx, w.pool, kind, a.Subject)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// answers reports whether nobody waits for the tenant's Odoo any more: it answers, or isn't to run.
func (w *Worker) answers(ctx context.Context, subject string) (bool, error) {
	id, ok := tenants.OfSubject(subject)
	if !ok {
		return true, nil
	}
	t, err := w.tenants.ByID(ctx, id)
	if err != nil {
		return false, err
	}
	return t.State != tenants.Active || w.runner.Answers(ctx, t) == nil, nil
}
