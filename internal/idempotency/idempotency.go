// Package idempotency remembers what was answered to requests that bear an Idempotency-Key, so that a caller who never saw the answer
// can send the request again without doing the thing twice. It knows keys, fingerprints and answers, but no HTTP.
package idempotency

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// What Begin and ParseKey return besides nil.
var (
	ErrBadKey     = errs.New(errs.Malformed, "bad_idempotency_key", "The Idempotency-Key must be 1 to 255 visible ASCII characters.")
	ErrReused     = errs.New(errs.Invalid, "idempotency_key_reused", "This Idempotency-Key was used for another request. Please use a fresh one.")
	ErrInProgress = errs.New(errs.Conflict, "idempotency_key_in_progress", "A request with this Idempotency-Key is being worked on. Please try again in a moment.")
)

const (
	maxKey    = 255
	retryWait = time.Second // told to whoever sends the same request twice at once
)

// ParseKey checks a key as a caller sent it.
func ParseKey(key string) (string, error) {
	if key == "" || len(key) > maxKey {
		return "", ErrBadKey
	}
	for _, c := range []byte(key) {
		if c <= ' ' || c > '~' {
			return "", ErrBadKey
		}
	}
	return key, nil
}

// Request is a call with a key. A key means something only to its account and on its route.
type Request struct {
	AccountID   int64
	Route       string // "POST /api/clients/{name}/suspend"
	Key         string
	Fingerprint [sha256.Size]byte // of all that makes it this request and not another
}

// Answer is what was answered.
type Answer struct {
	Status int
	Header map[string][]string
	Body   []byte
}

// Claim is the right to work on a request, until Finish, Release or the end of the lease; or the answer that it got before.
type Claim struct {
	Replay  *Answer // nil: do the work
	request Request
	id      int64
}

// Options are the settings. Zero values mean the defaults.
type Options struct {
	TTL   time.Duration // how long an answer is kept, default 24 h
	Lease time.Duration // how long a request may take, default 90 s; whoever takes longer has died
}

// Store keeps keys in the platform database, whose clock counts. Any number of replicas may share it.
type Store struct {
	pool *pgxpool.Pool
	opts Options
}

// New returns a store.
func New(pool *pgxpool.Pool, opts Options) *Store {
	opts.TTL = cmp.Or(opts.TTL, 24*time.Hour)
	opts.Lease = cmp.Or(opts.Lease, 90*time.Second)
	return &Store{pool: pool, opts: opts}
}

// maxTurns bounds how often a key may change hands between two statements of ours.
const maxTurns = 5

// Begin claims r's key, or finds the answer. A request that died with the claim is followed by the next one with its key.
// Errors: ErrReused when the key was used for another request, ErrInProgress while the first is being worked on.
func (s *Store) Begin(ctx context.Context, r Request) (Claim, error) {
	for range maxTurns {
		c := Claim{request: r, id: rand.Int64()} //nolint:gosec // it tells claims apart and isn't a secret
		claimed, err := s.claim(ctx, c)
		if err != nil {
			return Claim{}, err
		}
		if claimed {
			return c, nil
		}
		c.Replay, err = s.answer(ctx, r)
		if !postgres.NoRows(err) {
			return c, err
		}
	}
	return Claim{}, ErrInProgress.WithRetryAfter(retryWait)
}

// claim inserts the key, or takes it over from an answer that has expired or from the same request that died.
func (s *Store) claim(ctx context.Context, c Claim) (bool, error) {
	r := c.request
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO idempotency_keys AS k (account_id, route, key, fingerprint, claim, lease_until, expires_at)
		VALUES ($1, $2, $3, $4, $5, statement_timestamp() + $6::interval, statement_timestamp() + $7::interval)
		ON CONFLICT (account_id, route, key) DO UPDATE SET
			fingerprint = excluded.fingerprint, claim = excluded.claim, lease_until = excluded.lease_until, expires_at = excluded.expires_at,
			status = NULL, header = NULL, body = NULL
		WHERE k.expires_at <= statement_timestamp()
			OR k.status IS NULL AND k.lease_until <= statement_timestamp() AND k.fingerprint = excluded.fingerprint`,
		r.AccountID, r.Route, r.Key, r.Fingerprint[:], c.id, s.opts.Lease, s.opts.TTL)
	if err != nil {
		return false, fmt.Errorf("claim an idempotency key: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// answer returns what the key's first request was answered; pgx.ErrNoRows: the key has been released.
func (s *Store) answer(ctx context.Context, r Request) (*Answer, error) {
	var same bool
	var status *int
	var a Answer
	err := s.pool.QueryRow(ctx, `
		SELECT fingerprint = $4, status, header, body FROM idempotency_keys WHERE account_id = $1 AND route = $2 AND key = $3`,
		r.AccountID, r.Route, r.Key, r.Fingerprint[:]).Scan(&same, &status, &a.Header, &a.Body)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read an idempotency key: %w", err)
	case !same:
		return nil, ErrReused
	case status == nil:
		return nil, ErrInProgress.WithRetryAfter(retryWait)
	}
	a.Status = *status
	return &a, nil
}

// ErrLost says that the claim's lease had ended and somebody else has taken over.
var ErrLost = errors.New("the idempotency key was taken over")

// Finish stores the answer for repeats.
func (s *Store) Finish(ctx context.Context, c Claim, a Answer) error {
	r := c.request
	body := a.Body
	if body == nil {
		body = []byte{}
	}
	tag, err := s.pool.Exec(ctx, `
		UPDATE idempotency_keys SET status = $5, header = $6, body = $7, expires_at = statement_timestamp() + $8::interval
		WHERE account_id = $1 AND route = $2 AND key = $3 AND claim = $4`,
		r.AccountID, r.Route, r.Key, c.id, a.Status, a.Header, body, s.opts.TTL)
	if err != nil {
		return fmt.Errorf("store an answer under its idempotency key: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrLost
	}
	return nil
}

// Release gives the key back without an answer, so that a repeat does the work. A claim that is lost is left to its new holder.
func (s *Store) Release(ctx context.Context, c Claim) error {
	r := c.request
	_, err := s.pool.Exec(ctx, `
		DELETE FROM idempotency_keys WHERE account_id = $1 AND route = $2 AND key = $3 AND claim = $4 AND status IS NULL`,
		r.AccountID, r.Route, r.Key, c.id)
	if err != nil {
		return fmt.Errorf("release an idempotency key: %w", err)
	}
	return nil
}

// DeleteExpired forgets answers that nobody may ask for any more, and returns how many.
func (s *Store) DeleteExpired(ctx context.Context) (int, error) {
	tag, err := s.pool.Exec(ctx, "DELETE FROM idempotency_keys WHERE expires_at <= statement_timestamp()")
	if err != nil {
		return 0, fmt.Errorf("delete expired idempotency keys: %w", err)
	}
	return int(tag.RowsAffected()), nil
}
