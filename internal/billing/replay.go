package billing

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/ops"
	"controlplane/internal/postgres"
)

// bodiesKept is how long what was delivered can be read, byte for byte. That an event came, and what came of it, stays.
const bodiesKept = 90 * 24 * time.Hour

// ReplayFilter chooses stored events; zero values don't bound, but one of them must be there.
type ReplayFilter struct {
	EventID   int64
	Reference string
	Since     time.Time // when they were received
	Until     time.Time
}

// ErrReplayAll keeps a replay from being everything that was ever received, by mistake.
var ErrReplayAll = errors.New("say which events: by id, reference or time")

const replayBatch = 200

// Replay has stored events of the gateway's present mode applied once more, oldest first, and returns how many there were. What an event
// says doesn't count, so that a replay is as harmless as a repeated delivery; events that are waiting to be applied are left to that.
// Those that were filed under nothing are read again, should the program understand more of them by now.
func (s *Service) Replay(ctx context.Context, f ReplayFilter) (int, error) {
	if f == (ReplayFilter{}) {
		return 0, ErrReplayAll
	}
	count, after := 0, int64(0)
	for {
		list, err := eventsToReplay(ctx, s.deps.Pool, f, s.deps.Gateway.Mode(), after, replayBatch)
		if err != nil {
			return count, err
		}
		for _, e := range list {
			replayed, err := s.replay(ctx, e)
			if err != nil {
				return count, fmt.Errorf("replay event %d: %w", e.ID, err)
			}
			if replayed {
				count++
			}
			after = e.ID
		}
		if len(list) < replayBatch {
			return count, nil
		}
	}
}

// storedEvent is a delivered event as it is kept.
type storedEvent struct {
	ID        int64
	Reference string
	Body      []byte // empty once it is too old
}

func (s *Service) replay(ctx context.Context, stored storedEvent) (bool, error) {
	e := Event{Reference: stored.Reference}
	if len(stored.Body) > 0 {
		if decoded, err := s.deps.Gateway.DecodeEvent(stored.Body); err == nil {
			e = decoded
		}
	}
	if s.ignored(e) != "" {
		return false, nil
	}
	err := postgres.InTx(ctx, s.deps.Pool, func(tx pgx.Tx) error {
		_, err := s.deps.Ops.EnqueueTx(ctx, tx, eventKind, "payment_event/"+strconv.FormatInt(stored.ID, 10), eventInput{EventID: stored.ID})
		if err != nil {
			return err
		}
		return exec(ctx, tx, "open the event again", `UPDATE payment_events SET reference = $2, applied_at = NULL, outcome = NULL WHERE id = $1`, stored.ID, e.Reference)
	})
	if errors.Is(err, ops.ErrLive) {
		return false, nil
	}
	return err == nil, err
}

func eventsToReplay(ctx context.Context, q postgres.Querier, f ReplayFilter, mode string, after int64, limit int) ([]storedEvent, error) {
	rows, err := q.Query(ctx, `
		SELECT id, coalesce(reference, ''), body FROM payment_events
		WHERE id > $1 AND dedupe_key LIKE $2 || '/%' AND ($3 = 0 OR id = $3) AND ($4 = '' OR reference = $4)
			AND ($5::timestamptz IS NULL OR received_at >= $5) AND ($6::timestamptz IS NULL OR received_at < $6)
		ORDER BY id LIMIT $7`, after, mode, f.EventID, f.Reference, bound(f.Since), bound(f.Until), limit)
	if err != nil {
		return nil, fmt.Errorf("find the events: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[storedEvent])
	if err != nil {
		return nil, fmt.Errorf("find the events: %w", err)
	}
	return list, nil
}

// bound is NULL for a time that doesn't bound.
func bound(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// ForgetBodies removes what was delivered more than 90 days ago and is applied, and returns of how many events.
func (s *Service) ForgetBodies(ctx context.Context) (int, error) {
	total := 0
	for {
		tag, err := s.deps.Pool.Exec(ctx, `
			UPDATE payment_events SET body = ''
			WHERE id IN (SELECT id FROM payment_events WHERE body <> '' AND received_at < $1 AND applied_at IS NOT NULL ORDER BY received_at LIMIT 1000)`,
			s.now().Add(-bodiesKept))
		if err != nil {
			return total, fmt.Errorf("forget old events' bodies: %w", err)
		}
		total += int(tag.RowsAffected())
		if tag.RowsAffected() < 1000 {
			return total, nil
		}
	}
}
