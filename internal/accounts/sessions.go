package accounts

import (
	"context"
	"time"

	"controlplane/internal/postgres"
)

// Why a session was ended, as stored.
const (
	endedByLogout   = "logout"
	endedByReuse    = "refresh token reused"
	endedByPassword = "password changed"
	endedByDisable  = "account disabled"
)

// refreshState is all that decides about a refresh token.
type refreshState struct {
	session string
	account Account
	used    bool
	ended   bool // the session was ended or has expired, or the token has
}

func (s store) insertSession(ctx context.Context, q postgres.Querier, account ID, now, expires time.Time) (string, error) {
	var id string
	err := q.QueryRow(ctx, `
		INSERT INTO sessions (account_id, created_at, expires_at) VALUES ($1, $2, $3) RETURNING id::text`, account, now, expires).Scan(&id)
	return id, err
}

func (s store) insertRefreshToken(ctx context.Context, q postgres.Querier, hash []byte, session string, now, expires time.Time) error {
	_, err := q.Exec(ctx, `
		INSERT INTO refresh_tokens (token_hash, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4)`, hash, session, now, expires)
	return err
}

// lockRefreshToken reads a token and locks its session, so that of two requests with one token the second sees it used.
func (s store) lockRefreshToken(ctx context.Context, q postgres.Querier, hash []byte, now time.Time) (refreshState, error) {
	var r refreshState
	// The lock comes first, by a statement of its own: the next one then sees what the holder before us wrote.
	err := q.QueryRow(ctx, `
		SELECT s.id::text FROM sessions s
		WHERE s.id = (SELECT session_id FROM refresh_tokens WHERE token_hash = $1)
		FOR UPDATE`, hash).Scan(&r.session)
	if err != nil {
		return r, err
	}
	a := &r.account
	err = q.QueryRow(ctx, `
		SELECT a.id, a.email, a.username, a.disabled_at IS NULL, a.role = 'admin',
			t.used_at IS NOT NULL, s.revoked_at IS NOT NULL OR s.expires_at <= $2 OR t.expires_at <= $2
		FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id JOIN accounts a ON a.id = s.account_id
		WHERE t.token_hash = $1`, hash, now).
		Scan(&a.ID, &a.Email, &a.Username, &a.Active, &a.Admin, &r.used, &r.ended)
	return r, err
}

// rotate marks the old token used, stores the new one and prolongs the session.
func (s store) rotate(ctx context.Context, q postgres.Querier, session string, old, fresh []byte, now, expires time.Time) error {
	if _, err := q.Exec(ctx, "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1", old, now); err != nil {
		return err
	}
	if err := s.insertRefreshToken(ctx, q, fresh, session, now, expires); err != nil {
		return err
	}
	_, err := q.Exec(ctx, "UPDATE sessions SET expires_at = $2 WHERE id = $1", session, expires)
	return err
}

// endSession ends one session of account; one that has ended already keeps its reason.
func (s store) endSession(ctx context.Context, q postgres.Querier, session string, account ID, reason string, now time.Time) (bool, error) {
	tag, err := q.Exec(ctx, `
		UPDATE sessions SET revoked_at = $3, reason = $4
		WHERE id = $1::uuid AND account_id = $2 AND revoked_at IS NULL`, session, account, now, reason)
	return tag.RowsAffected() > 0, err
}

func (s store) endSessions(ctx context.Context, q postgres.Querier, account ID, reason string, now time.Time) error {
	_, err := q.Exec(ctx, `
		UPDATE sessions SET revoked_at = $2, reason = $3 WHERE account_id = $1 AND revoked_at IS NULL`, account, now, reason)
	return err
}

// principal finds the live account behind a live session; pgx.ErrNoRows: there is none.
func (s store) principal(ctx context.Context, session string, account ID, now time.Time) (Principal, error) {
	p := Principal{SessionID: session}
	err := s.pool.QueryRow(ctx, `
		SELECT a.id, a.username, a.email, a.role = 'admin'
		FROM sessions s JOIN accounts a ON a.id = s.account_id
		WHERE s.id = $1::uuid AND a.id = $2 AND s.revoked_at IS NULL AND s.expires_at > $3 AND a.disabled_at IS NULL`,
		session, account, now).Scan(&p.AccountID, &p.Username, &p.Email, &p.Admin)
	return p, err
}

func (s store) deleteExpired(ctx context.Context, now time.Time) (int, error) {
	sessions, err := s.pool.Exec(ctx, "DELETE FROM sessions WHERE expires_at <= $1", now)
	if err != nil {
		return 0, err
	}
	tokens, err := s.pool.Exec(ctx, "DELETE FROM refresh_tokens WHERE expires_at <= $1", now)
	if err != nil {
		return int(sessions.RowsAffected()), err
	}
	tickets, err := s.pool.Exec(ctx, "DELETE FROM event_tickets WHERE expires_at <= $1", now)
	if err != nil {
		return int(sessions.RowsAffected() + tokens.RowsAffected()), err
	}
	failures, err := deleteLoginFailures(ctx, s.pool, now.Add(-failureRetention))
	return int(sessions.RowsAffected() + tokens.RowsAffected() + tickets.RowsAffected() + failures), err
}
