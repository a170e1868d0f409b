package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/backup/archive"
	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

const (
	// neutralLife is how long links are given for a neutral dump, neutralGrace how much longer it stays for downloads that have begun.
	neutralLife  = 24 * time.Hour
	neutralGrace = 6 * time.Hour
	// neutralSlots are those of the sandboxes' that neutral dumps may take, the last ones: so there is one left for proofs at any time.
	neutralSlots = MostTrials - 1
	// sweptAtOnce is for how many backups one sweep looks into the store.
	sweptAtOnce = 200
)

// errGivenUp is for an operation whose row somebody has ended.
var errGivenUp = errors.New("the neutral dump was given up")

// neutralRow is what is known of a neutral dump.
type neutralRow struct {
	id   int64
	slot *int // nil: none yet
}

// slotTakenSQL holds for a slot s in which something is being tried or neutralised, or removed again.
const slotTakenSQL = `(EXISTS (SELECT FROM backup_proofs p WHERE p.slot = s AND (p.state = 'running' OR EXISTS (SELECT FROM operations o
		WHERE o.finished_at IS NULL AND o.subject = 'backup/' || p.backup_id AND o.kind = '` + ProveKind + `' AND o.state IN ('running', 'unwinding'))))
	OR EXISTS (SELECT FROM backup_neutral_dumps d WHERE d.slot = s AND (d.state = 'running' OR EXISTS (SELECT FROM operations o
		WHERE o.finished_at IS NULL AND o.id = d.operation_id AND o.state IN ('running', 'unwinding')))))`

// lockSlots has those who look for a slot take turns: they are kept in two tables.
func lockSlots(ctx context.Context, tx pgx.Tx) error {
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('backup sandboxes', 0))"); err != nil {
		return fmt.Errorf("wait for a look at the sandboxes: %w", err)
	}
	return nil
}

// takeSlot returns the slot of a backup's running neutral dump, nil if there is none for it yet: all are taken, or its account has one, whose
// database may be slow on purpose. Errors: errGivenUp.
func (s *Service) takeSlot(ctx context.Context, id ID) (slot *int, err error) {
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, "SELECT slot FROM backup_neutral_dumps WHERE backup_id = $1 AND state = 'running'", id).Scan(&slot)
		switch {
		case postgres.NoRows(err):
			return errGivenUp
		case err != nil:
			return fmt.Errorf("read the neutral dump of backup %s: %w", id, err)
		case slot != nil:
			return nil
		}
		if err := lockSlots(ctx, tx); err != nil {
			return err
		}
		err = tx.QueryRow(ctx, `
			UPDATE backup_neutral_dumps SET slot = (SELECT s FROM generate_series($2::int - $3, $2 - 1) s WHERE NOT `+slotTakenSQL+`
				AND NOT EXISTS (SELECT FROM backup_neutral_dumps d JOIN tenants t ON t.id = d.tenant_id JOIN tenants own ON own.account_id = t.account_id
					WHERE own.id = backup_neutral_dumps.tenant_id AND d.state = 'running' AND d.slot IS NOT NULL)
				ORDER BY s DESC LIMIT 1)
			WHERE backup_id = $1 AND state = 'running' RETURNING slot`, id, MostTrials, neutralSlots).Scan(&slot)
		if err != nil {
			return fmt.Errorf("look for a sandbox to neutralise backup %s in: %w", id, err)
		}
		return nil
	})
	return slot, err
}

func insertNeutral(ctx context.Context, tx pgx.Tx, b Backup, by string, op ops.ID, now time.Time) error {
	_, err := tx.Exec(ctx, `INSERT INTO backup_neutral_dumps (backup_id, tenant_id, requested_by, operation_id, created_at) VALUES ($1, $2, $3, $4, $5)`,
		b.ID, b.TenantID, by, op, now)
	switch {
	case postgres.UniqueViolation(err) == "backup_neutral_dumps_one_at_a_time":
		return ErrNeutralRunning.WithCause(err)
	case err != nil:
		return fmt.Errorf("record the neutral dump of backup %s: %w", b.ID, err)
	}
	return nil
}

// readyNeutral returns one that links are still given for, or nil.
func readyNeutral(ctx context.Context, q postgres.Querier, id ID, now time.Time) (*neutralRow, error) {
	return oneNeutral(ctx, q, id, `SELECT id, slot FROM backup_neutral_dumps
		WHERE backup_id = $1 AND state = 'ready' AND removed_at IS NULL AND expires_at > $2 ORDER BY id DESC LIMIT 1`, id, now)
}

// lastNeutral returns the one that was asked for last.
func lastNeutral(ctx context.Context, q postgres.Querier, id ID) (neutralRow, error) {
	row, err := oneNeutral(ctx, q, id, "SELECT id, slot FROM backup_neutral_dumps WHERE backup_id = $1 ORDER BY id DESC LIMIT 1", id)
	if err != nil || row == nil {
		return neutralRow{}, err
	}
	return *row, nil
}

func oneNeutral(ctx context.Context, q postgres.Querier, id ID, sql string, args ...any) (*neutralRow, error) {
	var row neutralRow
	err := q.QueryRow(ctx, sql, args...).Scan(&row.id, &row.slot)
	if postgres.NoRows(err) {
		return nil, nil //nolint:nilnil // none is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("read the neutral dumps of backup %s: %w", id, err)
	}
	return &row, nil
}

func noteNeutral(ctx context.Context, q postgres.Querier, id ID, text string) error {
	if _, err := q.Exec(ctx, "UPDATE backup_neutral_dumps SET error = $2 WHERE backup_id = $1 AND state = 'running'", id, text); err != nil {
		return fmt.Errorf("note what went wrong with the neutral dump of backup %s: %w", id, err)
	}
	return nil
}

func setNeutralReady(ctx context.Context, q postgres.Querier, id ID, part archive.Part, now time.Time) error {
	text, err := json.Marshal(part)
	if err != nil {
		return fmt.Errorf("encode the part: %w", err)
	}
	tag, err := q.Exec(ctx, `UPDATE backup_neutral_dumps SET state = 'ready', part = $2, error = NULL, finished_at = $3, expires_at = $4
		WHERE backup_id = $1 AND state = 'running'`, id, text, now, now.Add(neutralLife))
	if err == nil && tag.RowsAffected() != 1 {
		err = errGivenUp
	}
	if err != nil {
		return fmt.Errorf("end the neutral dump of backup %s: %w", id, err)
	}
	return nil
}

func setNeutralFailed(ctx context.Context, q postgres.Querier, id ID, now time.Time) error {
	_, err := q.Exec(ctx, `UPDATE backup_neutral_dumps SET state = 'failed', finished_at = $2, error = coalesce(error, $3)
		WHERE backup_id = $1 AND state = 'running'`, id, now, textStuck)
	if err != nil {
		return fmt.Errorf("give up the neutral dump of backup %s: %w", id, err)
	}
	return nil
}

// failStuckNeutrals gives up those whose operation was abandoned, which doesn't tell.
func (s *Service) failStuckNeutrals(ctx context.Context, q postgres.Querier) error {
	_, err := q.Exec(ctx, `
		UPDATE backup_neutral_dumps d SET state = 'failed', finished_at = $1, error = coalesce(d.error, $2)
		WHERE d.state = 'running' AND EXISTS (SELECT FROM operations o WHERE o.id = d.operation_id AND o.finished_at IS NOT NULL)`, s.now(), textStuck)
	if err != nil {
		return fmt.Errorf("give up neutral dumps that nobody makes: %w", err)
	}
	return nil
}

// oldNeutrals returns backups of which the store may hold neutral dumps that nobody can ask for.
func oldNeutrals(ctx context.Context, q postgres.Querier, now time.Time) ([]Backup, error) {
	rows, err := q.Query(ctx, `SELECT `+columns+` FROM backups b WHERE b.id IN (SELECT d.backup_id FROM backup_neutral_dumps d
		WHERE d.removed_at IS NULL AND (d.state = 'failed' OR d.state = 'ready' AND d.expires_at < $1)) ORDER BY b.id LIMIT $2`,
		now.Add(-neutralGrace), sweptAtOnce)
	if err != nil {
		return nil, fmt.Errorf("look for old neutral dumps: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("look for old neutral dumps: %w", err)
	}
	return list, nil
}

// wantedNeutrals are the keys of a backup's neutral dumps that somebody can ask for, or may be fetching.
func wantedNeutrals(ctx context.Context, q postgres.Querier, b Backup, now time.Time) (map[string]bool, error) {
	rows, err := q.Query(ctx, `SELECT part->>'object' FROM backup_neutral_dumps
		WHERE backup_id = $1 AND state = 'ready' AND removed_at IS NULL AND expires_at >= $2`, b.ID, now.Add(-neutralGrace))
	if err != nil {
		return nil, fmt.Errorf("read the neutral dumps of backup %s: %w", b.ID, err)
	}
	wanted := map[string]bool{}
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&name}, func() error { wanted[b.KeyPrefix+name] = true; return nil }); err != nil {
		return nil, fmt.Errorf("read the neutral dumps of backup %s: %w", b.ID, err)
	}
	return wanted, nil
}

func setNeutralsRemoved(ctx context.Context, q postgres.Querier, id ID, now time.Time) error {
	_, err := q.Exec(ctx, `UPDATE backup_neutral_dumps SET removed_at = $2
		WHERE backup_id = $1 AND removed_at IS NULL AND (state = 'failed' OR state = 'ready' AND expires_at < $3)`, id, now, now.Add(-neutralGrace))
	if err != nil {
		return fmt.Errorf("note that the neutral dumps of backup %s are gone: %w", id, err)
	}
	return nil
}
