package accounts

import (
	"context"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// Refresh trades a refresh token for new tokens of the same session, which it prolongs. Each token is good once: showing one again means
// that it was copied, so the whole session ends, the tokens of whoever was first included. There is no grace period, so a client
// that refreshes twice in parallel has to log in again. Errors: ErrBadToken.
func (s *Service) Refresh(ctx context.Context, ip netip.Addr, token secrets.Secret) (Tokens, error) {
	if !refreshTokenShaped(token.Reveal()) {
		return Tokens{}, ErrBadToken
	}
	var tokens Tokens
	var refused error // returned after the commit, because what it records must stay
	err := postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		old := hashRefreshToken(token.Reveal())
		state, err := s.store.lockRefreshToken(ctx, tx, old, s.now())
		switch {
		case postgres.NoRows(err), err == nil && (state.ended || !state.account.Active):
			refused = ErrBadToken
			return nil
		case err != nil:
			return err
		case state.used:
			refused = ErrBadToken
			return s.endReused(ctx, tx, ip, state)
		}
		tokens, err = s.rotate(ctx, tx, state, old)
		return err
	})
	if err != nil {
		return Tokens{}, storeErr("refresh a session", err)
	}
	return tokens, refused
}

func (s *Service) rotate(ctx context.Context, tx pgx.Tx, state refreshState, old []byte) (Tokens, error) {
	now := s.now()
	refresh, hash := newRefreshToken()
	if err := s.store.rotate(ctx, tx, state.session, old, hash, now, now.Add(s.opts.RefreshTTL)); err != nil {
		return Tokens{}, err
	}
	return s.tokensFor(state.account, state.session, refresh)
}

func (s *Service) endReused(ctx context.Context, tx pgx.Tx, ip netip.Addr, state refreshState) error {
	s.log.WarnContext(ctx, "refresh token reused, session ended", "account", state.account.ID, "session", state.session)
	if _, err := s.store.endSession(ctx, tx, state.session, state.account.ID, endedByReuse, s.now()); err != nil {
		return err
	}
	return s.audit.RecordTx(ctx, tx, audit.Entry{
		AccountID: int64(state.account.ID), Actor: state.account.Username, Action: "account.refresh_reused", IP: ip,
	})
}

// DeleteExpired removes sessions, refresh tokens, tickets and records of refused log-ins that are past their time, and returns how many rows
// went. Used tokens stay until then, because their reuse has to be noticed.
func (s *Service) DeleteExpired(ctx context.Context) (int, error) {
	n, err := s.store.deleteExpired(ctx, s.now())
	if err != nil {
		return 0, storeErr("delete expired sessions", err)
	}
	return n, nil
}
