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

// ProofState is what came of a trial.
type ProofState string

// The states of a trial. One that was given up says nothing about its backup.
const (
	ProofRunning ProofState = "running"
	ProofProven  ProofState = "proven"
	ProofFailed  ProofState = "failed"
	ProofGivenUp ProofState = "given_up"
)

// beginTrial takes a slot that no trial is in, nor the removal of what one left.
func beginTrial(ctx context.Context, tx pgx.Tx, b Backup, by string, now time.Time) error {
	if err := lockSlots(ctx, tx); err != nil {
		return err
	}
	tag, err := tx.Exec(ctx, `
		INSERT INTO backup_proofs (backup_id, tenant_id, requested_by, created_at, slot)
		SELECT $1, $2, $3, $4, s FROM generate_series(0, $5::int - 1) s WHERE NOT `+slotTakenSQL+` ORDER BY s LIMIT 1`,
		b.ID, b.TenantID, by, now, MostTrials)
	switch {
	case postgres.UniqueViolation(err) == "backup_proofs_one_at_a_time":
		return ErrTrialRunning.WithCause(err)
	case postgres.UniqueViolation(err) == "backup_proofs_slot", err == nil && tag.RowsAffected() == 0:
		return ErrTooManyTrials.WithCause(err)
	case err != nil:
		return fmt.Errorf("record the trial of backup %s: %w", b.ID, err)
	}
	return nil
}

// attempt is what is known of a backup's last trial.
type attempt struct {
	slot    int
	running bool
	text    string // what the last try of it said
	fault   bool   // and whether the backup was to blame
}

func lastTrial(ctx context.Context, q postgres.Querier, id ID) (attempt, error) {
	var a attempt
	err := q.QueryRow(ctx, `SELECT slot, state = 'running', coalesce(error, ''), at_fault FROM backup_proofs
		WHERE backup_id = $1 ORDER BY id DESC LIMIT 1`, id).Scan(&a.slot, &a.running, &a.text, &a.fault)
	if err != nil {
		return a, fmt.Errorf("read the trial of backup %s: %w", id, err)
	}
	return a, nil
}

// noteTrial notes why an attempt failed, and whether the backup is to blame.
func noteTrial(ctx context.Context, q postgres.Querier, id ID, text string, fault bool) error {
	_, err := q.Exec(ctx, "UPDATE backup_proofs SET error = $2, at_fault = $3 WHERE backup_id = $1 AND state = 'running'", id, text, fault)
	if err != nil {
		return fmt.Errorf("note what went wrong with the trial of backup %s: %w", id, err)
	}
	return nil
}

func endTrial(ctx context.Context, q postgres.Querier, id ID, state ProofState, now time.Time) error {
	_, err := q.Exec(ctx, `
		UPDATE backup_proofs SET state = $2, finished_at = $3, error = CASE WHEN $2 <> 'proven' THEN coalesce(error, $4) END
		WHERE backup_id = $1 AND state = 'running'`, id, state, now, textStuck)
	if err != nil {
		return fmt.Errorf("end the trial of backup %s: %w", id, err)
	}
	return nil
}

// setProven notes that Odoo answered on what was restored from the backup, which ends the alert that it wouldn't.
func setProven(ctx context.Context, q postgres.Querier, id ID, now time.Time) error {
	b, err := one(ctx, q, "note that backup "+id.String()+" is proven", `
		UPDATE backups b SET proven_at = $2, proof_failed_at = NULL, proof_error = NULL WHERE id = $1 RETURNING `+columns, id, now)
	if err != nil {
		return err
	}
	return alerts.Resolve(ctx, q, alertProof, b.TenantID.Subject())
}

// setUnproven notes that it didn't, when it was tried last.
func setUnproven(ctx context.Context, q postgres.Querier, id ID, text string, now time.Time) (Backup, error) {
	return one(ctx, q, "note that backup "+id.String()+" wasn't proven", `
		UPDATE backups b SET proof_failed_at = $2, proof_error = $3 WHERE id = $1 RETURNING `+columns, id, now, text)
}

// trialLives reports whether an operation still works on what is in the sandbox of a backup's subject. One that is held doesn't.
func trialLives(ctx context.Context, q postgres.Querier, subject string) (lives bool, err error) {
	err = q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM operations WHERE subject = $1 AND kind = ANY($2) AND state IN ('queued', 'running', 'unwinding'))",
		subject, []string{ProveKind, NeutraliseKind}).Scan(&lives)
	if err != nil {
		return false, fmt.Errorf("look for the trial on %s: %w", subject, err)
	}
	return lives, nil
}

// failStuckTrials gives up trials whose operation was abandoned, which doesn't tell.
func (s *Service) failStuckTrials(ctx context.Context) error {
	_, err := s.pool.Exec(ctx, `
		UPDATE backup_proofs p SET state = 'given_up', finished_at = $1, error = coalesce(p.error, $2)
		WHERE p.state = 'running' AND NOT EXISTS (SELECT FROM operations o
			WHERE o.subject = 'backup/' || p.backup_id AND o.kind = $3 AND o.state IN ('queued', 'running', 'unwinding'))`, s.now(), textStuck, ProveKind)
	if err != nil {
		return fmt.Errorf("give up trials that nobody makes: %w", err)
	}
	return nil
}

// turn is a client whose backups are tried from time to time.
type turn struct {
	tenant   tenants.ID
	backup   ID         // the newest good full one, or the next newest while that failed
	bytes    int64      // of its database and files
	first    time.Time  // when there first was one
	proven   *time.Time // when one was proven last that counts
	tried    *time.Time // when the last trial was asked for
	failures int        // trials that failed since the last that didn't
}

// turns are in the order in which their trials are asked for: as with backups, what always fails comes after who has waited for longer.
func (p *Planner) turns(ctx context.Context) ([]turn, error) {
	rows, err := p.deps.Pool.Query(ctx, `
		SELECT t.id, pick.id, pick.database_bytes + pick.filestore_bytes, first_one.at, proven.at, tried.at, coalesce(tried.failures, 0)
		FROM tenants t
		JOIN LATERAL (SELECT b.id, b.database_bytes, b.filestore_bytes FROM backups b WHERE b.tenant_id = t.id AND b.kind NOT IN ('hourly', 'imported')
			AND b.state = 'done' AND b.broken_at IS NULL ORDER BY b.proof_failed_at NULLS FIRST, b.started_at DESC LIMIT 1) pick ON true
		JOIN LATERAL (`+firstSQL+`) first_one ON true
		LEFT JOIN LATERAL (`+provenSQL+`) proven ON true
		LEFT JOIN LATERAL (SELECT max(p.created_at) AS at, count(*) FILTER (WHERE p.state = 'failed' AND p.created_at > coalesce((SELECT max(q.created_at)
			FROM backup_proofs q WHERE q.tenant_id = t.id AND q.state = 'proven'), '-infinity')) AS failures
			FROM backup_proofs p WHERE p.tenant_id = t.id) tried ON true
		WHERE t.state IN ('active', 'suspended', 'sleeping', 'scheduled_for_deletion') AND t.activated_at IS NOT NULL
			AND NOT EXISTS (SELECT FROM backup_proofs p WHERE p.tenant_id = t.id AND p.state = 'running')
		ORDER BY greatest(proven.at, tried.at) NULLS FIRST, t.id`)
	if err != nil {
		return nil, fmt.Errorf("read whose backups are to be tried: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (turn, error) {
		var t turn
		err := row.Scan(&t.tenant, &t.backup, &t.bytes, &t.first, &t.proven, &t.tried, &t.failures)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("read whose backups are to be tried: %w", err)
	}
	return list, nil
}

// Rows are told of by subqueries on a tenant t: when it first had a full backup, also one that is long gone, and when one was proven last.
// One that was old already when it was proven tells nothing of those that came since.
const (
	firstSQL = `SELECT min(b.finished_at) AS at FROM backups b WHERE b.tenant_id = t.id AND b.kind NOT IN ('hourly', 'imported') AND b.verified_at IS NOT NULL`

	provenSQL = `SELECT max(b.proven_at) AS at FROM backups b
		WHERE b.tenant_id = t.id AND b.kind NOT IN ('hourly', 'imported') AND b.state = 'done' AND b.broken_at IS NULL AND b.proof_failed_at IS NULL
			AND (b.proven_at < b.started_at + interval '8 days' OR NOT EXISTS (SELECT FROM backups n WHERE n.tenant_id = t.id AND n.kind NOT IN ('hourly', 'imported')
				AND n.state = 'done' AND n.broken_at IS NULL AND n.started_at > b.started_at))`
)

// passing are what others may have done since we looked.
func passing(err error) bool {
	for _, known := range []error{ErrNotFound, ErrNotGood, ErrNotFull, ErrTenantGone, ErrTrialRunning, ErrTooManyTrials, ErrInUse} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}
