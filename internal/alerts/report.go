package alerts

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
)

// ReportsLast is how long what somebody reports counts unless it is reported again.
const ReportsLast = 5 * time.Minute

// reportLock is what reports queue on, so that one doesn't resolve what another is just raising; any constant of our own will do.
const reportLock = 0x616c657274

// Report says all that one of several reporters sees of a kind, perhaps nothing; each repeats itself more often than ReportsLast. An alert is
// open while any of them reports its subject.
func Report(ctx context.Context, pool *pgxpool.Pool, reporter, kind string, seen []Alert) error {
	subjects := make([]string, len(seen))
	messages := map[string]string{}
	for i, a := range seen {
		subjects[i], messages[a.Subject] = a.Subject, a.Message
	}
	err := postgres.InTx(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", reportLock); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "DELETE FROM alert_reports WHERE kind = $1 AND (reported_at < now() - make_interval(secs => $4) OR reporter = $2 AND subject <> ALL ($3))",
			kind, reporter, subjects, ReportsLast.Seconds())
		if err != nil {
			return err
		}
		fresh, err := noteReports(ctx, tx, reporter, kind, subjects)
		if err != nil {
			return err
		}
		for _, subject := range fresh {
			if err := Raise(ctx, tx, Alert{Kind: kind, Subject: subject, Message: messages[subject]}); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `UPDATE alerts a SET resolved_at = now() WHERE kind = $1 AND resolved_at IS NULL
			AND NOT EXISTS (SELECT FROM alert_reports r WHERE r.kind = a.kind AND r.subject = a.subject)`, kind)
		return err
	})
	if err != nil {
		return fmt.Errorf("report %s: %w", kind, err)
	}
	return nil
}

// noteReports returns the subjects that the reporter hasn't reported before.
func noteReports(ctx context.Context, tx pgx.Tx, reporter, kind string, subjects []string) ([]string, error) {
	rows, err := tx.Query(ctx, "SELECT s FROM unnest($3::text[]) s WHERE NOT EXISTS (SELECT FROM alert_reports r WHERE (r.kind, r.subject, r.reporter) = ($1, s, $2))",
		kind, reporter, subjects)
	if err != nil {
		return nil, err
	}
	fresh, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO alert_reports (kind, subject, reporter, reported_at) SELECT $1, s, $2, now() FROM unnest($3::text[]) s
		ON CONFLICT (kind, subject, reporter) DO UPDATE SET reported_at = EXCLUDED.reported_at`, kind, reporter, subjects)
	return fresh, err
}
