package certs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// Store is the platform database's part.
type Store struct {
	pool   *pgxpool.Pool
	sealer *secrets.Sealer
	holder string // of leases
}

// NewStore returns the store of a database. Each process has a name of its own in leases.
func NewStore(pool *pgxpool.Pool, sealer *secrets.Sealer) *Store {
	return &Store{pool: pool, sealer: sealer, holder: secrets.RandomHex(8)}
}

const certificateColumns = `host, names, chain, private_key, issuer, not_before, not_after, version`

// Load returns a host's certificate. Errors: ErrNotFound.
func (s *Store) Load(ctx context.Context, host string) (Certificate, error) {
	list, err := s.query(ctx, `WHERE host = $1 AND version > 0`, host)
	if err != nil {
		return Certificate{}, fmt.Errorf("load the certificate of %s: %w", host, err)
	}
	if len(list) == 0 {
		return Certificate{}, ErrNotFound
	}
	return list[0], nil
}

// Newer returns, oldest first, at most limit certificates that were saved after version: what a copy lacks.
func (s *Store) Newer(ctx context.Context, version int64, limit int) ([]Certificate, error) {
	list, err := s.query(ctx, `WHERE version > $1 ORDER BY version LIMIT $2`, version, limit)
	if err != nil {
		return nil, fmt.Errorf("load new certificates: %w", err)
	}
	return list, nil
}

func (s *Store) query(ctx context.Context, where string, args ...any) ([]Certificate, error) {
	rows, err := s.pool.Query(ctx, `SELECT `+certificateColumns+` FROM certificates `+where, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Certificate, error) {
		var c Certificate
		var sealed secrets.Sealed
		err := row.Scan(&c.Host, &c.Names, &c.Chain, &sealed, &c.Issuer, &c.NotBefore, &c.NotAfter, &c.Version)
		if err != nil {
			return c, err
		}
		c.Key, err = s.sealer.Open(sealed, keyContext(c.Host))
		return c, err
	})
}

func keyContext(host string) string { return "certificates.private_key/" + host }

// versionLock makes versions visible in the order in which they are given out: a reader that has seen one has seen all below.
const versionLock = 0x63657274 // "cert"

// Save stores a certificate that was issued, and tells the edges. What was wrong before is forgotten.
func (s *Store) Save(ctx context.Context, c Certificate, now time.Time) error {
	sealed := s.sealer.Seal(c.Key, keyContext(c.Host))
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, versionLock); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO certificates (host, names, chain, private_key, issuer, not_before, not_after, renew_at, version, updated_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, nextval('certificates_version'), $9)
			ON CONFLICT (host) DO UPDATE SET names = EXCLUDED.names, chain = EXCLUDED.chain, private_key = EXCLUDED.private_key,
				issuer = EXCLUDED.issuer, not_before = EXCLUDED.not_before, not_after = EXCLUDED.not_after, renew_at = EXCLUDED.renew_at,
				version = EXCLUDED.version, updated_at = EXCLUDED.updated_at, failures = 0, cause = '', last_error = NULL, last_error_at = NULL,
				retry_at = NULL, unwanted_since = NULL`,
			c.Host, c.Names, c.Chain, sealed, c.Issuer, c.NotBefore, c.NotAfter, c.RenewAt(), now)
		return err
	})
	if err != nil {
		return fmt.Errorf("save the certificate of %s: %w", c.Host, err)
	}
	return nil
}

// longestError is what is kept of an error's text.
const longestError = 1500

// Fail notes that a certificate couldn't be had, and when the CA is asked again. One that is there stays in use.
func (s *Store) Fail(ctx context.Context, host string, f Failure, now time.Time) error {
	reason := strings.ReplaceAll(strings.ToValidUTF8(f.Reason, "\uFFFD"), "\x00", "") // it holds others' words
	if runes := []rune(reason); len(runes) > longestError {
		reason = string(runes[:longestError]) + "…"
	}
	_, err := s.pool.Exec(ctx, `
		INSERT INTO certificates (host, failures, cause, last_error, last_error_at, retry_at, updated_at) VALUES ($1, 1, $5, $2, $3, $4, $3)
		ON CONFLICT (host) DO UPDATE SET failures = certificates.failures + 1, cause = EXCLUDED.cause, last_error = EXCLUDED.last_error,
			last_error_at = EXCLUDED.last_error_at, retry_at = EXCLUDED.retry_at, updated_at = EXCLUDED.updated_at`,
		host, reason, now, f.RetryAt, f.Cause)
	if err != nil {
		return fmt.Errorf("note that %s has no certificate: %w", host, err)
	}
	return nil
}

const recordColumns = `host, names, coalesce(issuer, ''), not_before, not_after, renew_at, version, failures, cause, coalesce(last_error, ''), last_error_at, retry_at`

// Records returns how the certificates of hosts stand; a host that was never asked for is left out. No hosts means all there are.
func Records(ctx context.Context, q postgres.Querier, hosts ...string) ([]Record, error) {
	rows, err := q.Query(ctx, `SELECT `+recordColumns+` FROM certificates WHERE cardinality($1::text[]) = 0 OR host = ANY ($1) ORDER BY host`, append([]string{}, hosts...))
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanRecord)
	if err != nil {
		return nil, fmt.Errorf("list certificates: %w", err)
	}
	return list, nil
}

func scanRecord(row pgx.CollectableRow) (Record, error) {
	var r Record
	var notBefore, notAfter, renewAt, errorAt, retryAt *time.Time
	err := row.Scan(&r.Host, &r.Names, &r.Issuer, &notBefore, &notAfter, &renewAt, &r.Version, &r.Failures, &r.Cause, &r.LastError, &errorAt, &retryAt)
	for to, from := range map[*time.Time]*time.Time{
		&r.NotBefore: notBefore, &r.NotAfter: notAfter, &r.RenewAt: renewAt, &r.LastErrorAt: errorAt, &r.RetryAt: retryAt,
	} {
		if from != nil {
			*to = *from
		}
	}
	return r, err
}

// Record returns how one host's certificate stands. Errors: ErrNotFound.
func (s *Store) Record(ctx context.Context, host string) (Record, error) {
	list, err := Records(ctx, s.pool, host)
	if err != nil {
		return Record{}, err
	}
	if len(list) == 0 {
		return Record{}, ErrNotFound
	}
	return list[0], nil
}

// Of returns how the certificates of some hosts stand; a host that was never asked for is left out.
func (s *Store) Of(ctx context.Context, hosts []string) ([]Record, error) {
	if len(hosts) == 0 {
		return nil, nil
	}
	return Records(ctx, s.pool, hosts...)
}

// All returns how every certificate stands.
func (s *Store) All(ctx context.Context) ([]Record, error) { return Records(ctx, s.pool) }

// Forget is told who all those are that want a certificate. It deletes, with their keys, those that nobody has wanted for all of keep, and
// returns whose they were. Until then one who takes a domain away and brings it back gets the old one.
func (s *Store) Forget(ctx context.Context, wanted []string, now time.Time, keep time.Duration) (gone []string, err error) {
	const unwanted = `NOT EXISTS (SELECT FROM unnest($1::text[]) AS wanted WHERE wanted = host)`
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `UPDATE certificates SET unwanted_since = NULL WHERE unwanted_since IS NOT NULL AND NOT (`+unwanted+`)`, wanted); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE certificates SET unwanted_since = $2 WHERE unwanted_since IS NULL AND `+unwanted, wanted, now); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `DELETE FROM certificates WHERE unwanted_since <= $1 RETURNING host`, now.Add(-keep))
		if err != nil {
			return err
		}
		gone, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("forget certificates: %w", err)
	}
	return gone, nil
}

// Rekey seals again, with the first key of DATA_KEY, what was sealed with another, and returns how much that was. A certificate gets a new
// version by it, so that edges copy it again.
func (s *Store) Rekey(ctx context.Context) (int, error) {
	sealed := []byte(s.sealer.KeyID() + ":")
	rows, err := s.pool.Query(ctx, `SELECT host FROM certificates WHERE version > 0 AND substring(private_key FOR $2) <> $1`, sealed, len(sealed))
	if err != nil {
		return 0, fmt.Errorf("find the certificates to seal again: %w", err)
	}
	hosts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("find the certificates to seal again: %w", err)
	}
	for done, host := range hosts {
		if err := s.rekey(ctx, host); err != nil {
			return done, fmt.Errorf("seal the certificate of %s again: %w", host, err)
		}
	}
	files, err := s.rekeyFiles(ctx, sealed)
	return len(hosts) + files, err
}

func (s *Store) rekey(ctx context.Context, host string) error {
	return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, versionLock); err != nil {
			return err
		}
		var sealed secrets.Sealed
		err := tx.QueryRow(ctx, `SELECT private_key FROM certificates WHERE host = $1 AND version > 0 FOR UPDATE`, host).Scan(&sealed)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // gone since
		}
		if err != nil {
			return err
		}
		key, err := s.sealer.Open(sealed, keyContext(host))
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE certificates SET private_key = $2, version = nextval('certificates_version') WHERE host = $1`,
			host, s.sealer.Seal(key, keyContext(host)))
		return err
	})
}
