package accounts

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/audit"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// Guesses at one account's password within a minute, from wherever they come. Limits per address belong to the API.
const (
	passwordTries  = 5
	passwordPeriod = time.Minute
)

// Login checks a password, for a user name or an e-mail address, and begins a session. An unknown login and a wrong password give the same
// answer after the same work; that the account is disabled is told only with the right password. Errors: ErrBadCredentials, ErrDisabled,
// ratelimit.ErrLimited after five tries at one account within a minute, whichever of its names was used.
func (s *Service) Login(ctx context.Context, ip netip.Addr, login string, password secrets.Secret) (Tokens, error) {
	name := loginKey(login)
	c, err := s.store.byLogin(ctx, s.store.pool, name)
	if err != nil && !postgres.NoRows(err) {
		return Tokens{}, storeErr("look up a login", err)
	}
	if err := s.limits.Allow(ctx, tryKey(c.ID, name), passwordTries, passwordPeriod); err != nil {
		return Tokens{}, err
	}
	match, err := s.hasher.matches(ctx, password, c.hash)
	if err != nil {
		return Tokens{}, err
	}
	if !match || !c.Active {
		return Tokens{}, s.refuseLogin(ctx, ip, c.Account, match)
	}
	return s.begin(ctx, c, audit.Entry{AccountID: int64(c.ID), Actor: c.Username, Action: "account.login", IP: ip})
}

// tryKey counts a login that is nobody's under its name, so that being limited doesn't tell which accounts exist.
func tryKey(id ID, loginKey string) string {
	if id != 0 {
		return "accounts.password/" + id.String()
	}
	return "accounts.password/login/" + loginKey
}

// refuseLogin leaves a trace.
func (s *Service) refuseLogin(ctx context.Context, ip netip.Addr, a Account, match bool) error {
	if err := s.store.insertLoginFailure(ctx, a.ID, ip, s.now()); err != nil {
		return storeErr("record a refused login", err)
	}
	if match {
		return ErrDisabled
	}
	return ErrBadCredentials
}

// begin starts a session, unless the password or the account's state has changed since c was read.
func (s *Service) begin(ctx context.Context, c credentials, e audit.Entry) (Tokens, error) {
	var tokens Tokens
	err := postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		if err := s.store.lockUnchanged(ctx, tx, c.ID, c.hash); err != nil {
			return err
		}
		var err error
		if tokens, err = s.beginTx(ctx, tx, c.Account); err != nil {
			return err
		}
		return s.audit.RecordTx(ctx, tx, e)
	})
	if postgres.NoRows(err) {
		return Tokens{}, ErrBadCredentials
	}
	if err != nil {
		return Tokens{}, storeErr("begin a session", err)
	}
	return tokens, nil
}

func (s *Service) beginTx(ctx context.Context, tx pgx.Tx, a Account) (Tokens, error) {
	now := s.now()
	expires := now.Add(s.opts.RefreshTTL)
	session, err := s.store.insertSession(ctx, tx, a.ID, now, expires)
	if err != nil {
		return Tokens{}, err
	}
	refresh, hash := newRefreshToken()
	if err := s.store.insertRefreshToken(ctx, tx, hash, session, now, expires); err != nil {
		return Tokens{}, err
	}
	return s.tokensFor(a, session, refresh)
}

func (s *Service) tokensFor(a Account, session string, refresh secrets.Secret) (Tokens, error) {
	access, err := s.tokens.access(a, session)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, Refresh: refresh, ExpiresIn: s.opts.AccessTTL}, nil
}

// Logout ends p's session: its access and refresh tokens are worth nothing from now on. A repeat does nothing.
func (s *Service) Logout(ctx context.Context, p Principal, ip netip.Addr) error {
	if p.SessionID == "" {
		return nil
	}
	err := postgres.InTx(ctx, s.store.pool, func(tx pgx.Tx) error {
		ended, err := s.store.endSession(ctx, tx, p.SessionID, p.AccountID, endedByLogout, s.now())
		if err != nil || !ended {
			return err
		}
		return s.audit.RecordTx(ctx, tx, audit.Entry{AccountID: int64(p.AccountID), Actor: p.Username, Action: "account.logout", IP: ip})
	})
	if err != nil {
		return storeErr("end a session", err)
	}
	return nil
}

// Authenticate returns who an access token stands for, as the account is now. It checks the token, then with one query that its session
// hasn't ended and the account isn't disabled. Errors: ErrNotAuthenticated for an empty token, else ErrBadToken.
func (s *Service) Authenticate(ctx context.Context, accessToken string) (Principal, error) {
	if accessToken == "" {
		return Principal{}, ErrNotAuthenticated
	}
	c, err := s.tokens.parse(accessToken)
	if err != nil {
		return Principal{}, ErrBadToken.WithCause(err)
	}
	p, err := s.store.principal(ctx, c.SessionID, c.AccountID, s.now())
	if postgres.NoRows(err) {
		return Principal{}, ErrBadToken.WithCause(fmt.Errorf("session %s has ended", c.SessionID))
	}
	if err != nil {
		return Principal{}, storeErr("look up a session", err)
	}
	return p, nil
}
