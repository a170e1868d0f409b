package accounts

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// TicketTTL is how long a ticket may wait for its one use.
const TicketTTL = 60 * time.Second

const (
	ticketPrefix = "et_" // tells people and secret scanners what it is
	ticketBytes  = 32
)

// ErrBadTicket is the answer to a ticket that was used, has expired, never was, or whose session has ended.
var ErrBadTicket = errs.New(errs.Unauthenticated, "bad_ticket", "The ticket isn't valid (any more). Ask for a new one.")

// Ticket stands in for an access token where only a URL can be given, once and within TicketTTL.
type Ticket struct {
	Secret    secrets.Secret
	ExpiresAt time.Time
}

// IssueTicket makes a ticket for the caller's session. Errors: ErrNotAuthenticated for a principal without one, such as System.
func (s *Service) IssueTicket(ctx context.Context, p Principal) (Ticket, error) {
	if p.SessionID == "" {
		return Ticket{}, ErrNotAuthenticated
	}
	b := make([]byte, ticketBytes)
	_, _ = rand.Read(b) // never fails
	t := Ticket{
		Secret:    secrets.Secret(ticketPrefix + base64.RawURLEncoding.EncodeToString(b)),
		ExpiresAt: s.now().UTC().Truncate(time.Microsecond).Add(TicketTTL),
	}
	_, err := s.store.pool.Exec(ctx, `
		INSERT INTO event_tickets (ticket_hash, account_id, session_id, expires_at) VALUES ($1, $2, $3::uuid, $4)`,
		hashRefreshToken(t.Secret.Reveal()), p.AccountID, p.SessionID, t.ExpiresAt)
	if err != nil {
		return Ticket{}, storeErr("store a ticket", err)
	}
	return t, nil
}

// RedeemTicket uses a ticket up and returns whom it was made for. Errors: ErrBadTicket.
func (s *Service) RedeemTicket(ctx context.Context, ticket secrets.Secret) (Principal, error) {
	if !ticketShaped(ticket.Reveal()) {
		return Principal{}, ErrBadTicket
	}
	var p Principal
	err := s.store.pool.QueryRow(ctx, `
		DELETE FROM event_tickets WHERE ticket_hash = $1 AND expires_at > $2 RETURNING account_id, session_id::text`,
		hashRefreshToken(ticket.Reveal()), s.now()).Scan(&p.AccountID, &p.SessionID)
	if postgres.NoRows(err) {
		return Principal{}, ErrBadTicket
	}
	if err != nil {
		return Principal{}, storeErr("use a ticket", err)
	}
	if p, err = s.Renew(ctx, p); errors.Is(err, ErrBadToken) {
		return Principal{}, ErrBadTicket
	}
	return p, err
}

// Renew reads again who a principal is, for what outlives a request. Errors: ErrBadToken once the session has ended or the account was
// disabled.
func (s *Service) Renew(ctx context.Context, p Principal) (Principal, error) {
	if p.SessionID == "" {
		return Principal{}, ErrBadToken
	}
	fresh, err := s.store.principal(ctx, p.SessionID, p.AccountID, s.now())
	if postgres.NoRows(err) {
		return Principal{}, ErrBadToken
	}
	if err != nil {
		return Principal{}, storeErr("look up a session", err)
	}
	return fresh, nil
}

// ticketShaped spares the database what can't be a ticket.
func ticketShaped(text string) bool {
	return len(text) == len(ticketPrefix)+base64.RawURLEncoding.EncodedLen(ticketBytes) && strings.HasPrefix(text, ticketPrefix)
}
