package billing

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
)

// heartbeat notes that the job which asks for money runs. When the last time is too long ago, the time between is a gap.
func (s *Service) heartbeat(ctx context.Context) error {
	now := s.now()
	return postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		err := exec(ctx, tx, "note a gap of the billing job", `
			INSERT INTO billing_gaps (began_at, ended_at)
			SELECT at, $1 FROM (SELECT at FROM billing_heartbeat FOR UPDATE) AS h WHERE at < $2`, now, now.Add(-s.opts.RunGap))
		if err != nil {
			return err
		}
		return exec(ctx, tx, "note that the billing job runs", `
			INSERT INTO billing_heartbeat (at) VALUES ($1) ON CONFLICT (single) DO UPDATE SET at = greatest(billing_heartbeat.at, $1)`, now)
	})
}

// excused returns for how long, of the time between two moments, the gateway couldn't be reached or our job didn't run. What was both
// counts once.
func (s *Service) excused(ctx context.Context, q postgres.Querier, from, to time.Time) (time.Duration, error) {
	var seconds float64
	now := s.now()
	err := q.QueryRow(ctx, `
		WITH lost AS (
			SELECT began_at, coalesce(ended_at, 'infinity') AS ended_at FROM gateway_outages
			UNION ALL SELECT began_at, ended_at FROM billing_gaps
			UNION ALL SELECT at, $3 FROM billing_heartbeat WHERE at < $4 -- a gap that Renew hasn't noted yet
		), merged AS (
			SELECT unnest(range_agg(tstzrange(greatest(began_at, $1), least(ended_at, $2)))) AS r
			FROM lost WHERE ended_at > $1 AND began_at < $2 AND $1::timestamptz < $2::timestamptz
		)
		SELECT coalesce(sum(extract(epoch FROM upper(r) - lower(r))), 0)::float8 FROM merged`, from, to, now, now.Add(-s.opts.RunGap)).Scan(&seconds)
	if err != nil {
		return 0, fmt.Errorf("sum up the time that doesn't count: %w", err)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
