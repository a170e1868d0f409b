// Package ratelimit counts calls per key in the platform database, so that all replicas share the count.
// What is limited, and by which key, is the caller's business.
package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
)

// What Allow returns besides nil.
var (
	ErrLimited     = errs.New(errs.RateLimited, "rate_limited", "Too many requests. Please wait a little and try again.")
	ErrUnavailable = errs.New(errs.Unavailable, "rate_limit_unavailable", "The service can't count requests at the moment. Please try again.")
)

const (
	retryUnavailable = 5 * time.Second
	maxKeyBytes      = 128
)

// Limiter limits by the generic cell rate algorithm: a key may use its limit at once, and gets one call back every per/limit.
// One timestamp per key is all there is to store, and the time to wait is exact.
type Limiter struct{ pool *pgxpool.Pool }

// New returns a limiter on the platform database.
func New(pool *pgxpool.Pool) *Limiter { return &Limiter{pool: pool} }

// Allow counts one call for key. It returns ErrLimited with RetryAfter once key has made limit calls within per; a refused call
// isn't counted, so waiting always helps. When the database is down it returns ErrUnavailable: a limit that can't be
// checked doesn't let anything through. The database's clock counts, so replicas needn't agree on the time.
func (l *Limiter) Allow(ctx context.Context, key string, limit int, per time.Duration) error {
	if limit < 1 || per < time.Duration(limit)*time.Microsecond {
		return fmt.Errorf("limit %q: %d per %s is no rate", key, limit, per)
	}
	var wait time.Duration
	err := l.pool.QueryRow(ctx, take, storedKey(key), per/time.Duration(limit), per).Scan(&wait)
	switch {
	case err != nil && postgres.Unreachable(err):
		return ErrUnavailable.WithCause(err).WithRetryAfter(retryUnavailable)
	case err != nil:
		return fmt.Errorf("count a call against its limit: %w", err)
	case wait > 0:
		return ErrLimited.WithRetryAfter(wait)
	}
	return nil
}

// take moves the key's "free at" time forward by one interval if that stays within the burst, and returns how long to wait if not.
// It is one statement, so the row's lock makes it atomic; wait is a column because only a column's new value can be returned.
const take = `
	INSERT INTO rate_limits AS r (key, free_at, wait)
	VALUES ($1, statement_timestamp() + $2::interval, interval '0')
	ON CONFLICT (key) DO UPDATE SET
		free_at = CASE WHEN greatest(r.free_at, statement_timestamp()) + $2::interval - statement_timestamp() <= $3::interval
			THEN greatest(r.free_at, statement_timestamp()) + $2::interval ELSE r.free_at END,
		wait = greatest(greatest(r.free_at, statement_timestamp()) + $2::interval - statement_timestamp() - $3::interval, interval '0')
	RETURNING wait`

// DeleteStale removes keys that are back at their full limit, and returns how many.
func (l *Limiter) DeleteStale(ctx context.Context) (int, error) {
	tag, err := l.pool.Exec(ctx, "DELETE FROM rate_limits WHERE free_at < statement_timestamp()")
	if err != nil {
		return 0, fmt.Errorf("delete stale rate limits: %w", err)
	}
	return int(tag.RowsAffected()), nil
}

// Address returns the part of a key that stands for a caller's address: all of an IPv4 address, but only the /64 of an IPv6 one,
// because one caller usually has that many.
func Address(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if !ip.Is6() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return network.String()
}

// storedKey keeps what people send us short and storable: anything odd becomes its hash.
func storedKey(key string) string {
	plain := len(key) <= maxKeyBytes && utf8.ValidString(key)
	for i := 0; plain && i < len(key); i++ {
		plain = key[i] != 0
	}
	if plain {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "sha256:" + hex.EncodeToString(sum[:])
}
