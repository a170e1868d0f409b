package certs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// File is what is known of one of the ACME client's files without opening it.
type File struct {
	Key        string
	Size       int64
	ModifiedAt time.Time
}

func fileContext(key string) string { return "acme_files/" + key }

// WriteFile stores one of the ACME client's files.
func (s *Store) WriteFile(ctx context.Context, key string, value []byte) error {
	_, err := s.pool.Exec(ctx, `
		INSERT INTO acme_files (key, value, size, modified_at) VALUES ($1, $2, $3, now())
		ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, size = EXCLUDED.size, modified_at = EXCLUDED.modified_at`,
		key, s.sealer.Seal(secrets.Secret(value), fileContext(key)), len(value))
	if err != nil {
		return fmt.Errorf("store %s: %w", key, err)
	}
	return nil
}

// ReadFile returns what is stored. Errors: ErrNotFound.
func (s *Store) ReadFile(ctx context.Context, key string) ([]byte, error) {
	var sealed secrets.Sealed
	err := s.pool.QueryRow(ctx, `SELECT value FROM acme_files WHERE key = $1`, key).Scan(&sealed)
	if postgres.NoRows(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", key, err)
	}
	value, err := s.sealer.Open(sealed, fileContext(key))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, err)
	}
	return []byte(value.Reveal()), nil
}

// RemoveFiles deletes a file, or everything below a folder. Absence is success.
func (s *Store) RemoveFiles(ctx context.Context, key string) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM acme_files WHERE key = $1 OR key LIKE $2`, key, below(key)); err != nil {
		return fmt.Errorf("delete %s: %w", key, err)
	}
	return nil
}

// Files returns the file of that name, or everything below the folder, by name; "" is the folder of all.
func (s *Store) Files(ctx context.Context, key string) ([]File, error) {
	rows, err := s.pool.Query(ctx, `SELECT key, size, modified_at FROM acme_files WHERE $1 = '' OR key = $1 OR key LIKE $2 ORDER BY key`, key, below(key))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", key, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[File])
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", key, err)
	}
	return list, nil
}

// below returns the pattern of what is in a folder.
func below(key string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(key) + "/%"
}

func (s *Store) rekeyFiles(ctx context.Context, sealed []byte) (int, error) {
	rows, err := s.pool.Query(ctx, `SELECT key FROM acme_files WHERE substring(value FOR $2) <> $1`, sealed, len(sealed))
	if err != nil {
		return 0, fmt.Errorf("find what is to be sealed again: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return 0, fmt.Errorf("find what is to be sealed again: %w", err)
	}
	for done, key := range keys {
		err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
			var old secrets.Sealed
			err := tx.QueryRow(ctx, `SELECT value FROM acme_files WHERE key = $1 FOR UPDATE`, key).Scan(&old)
			if postgres.NoRows(err) {
				return nil // gone since
			}
			if err != nil {
				return err
			}
			value, err := s.sealer.Open(old, fileContext(key))
			if err != nil {
				return err
			}
			_, err = tx.Exec(ctx, `UPDATE acme_files SET value = $2 WHERE key = $1`, key, s.sealer.Seal(value, fileContext(key)))
			return err
		})
		if err != nil {
			return done, fmt.Errorf("seal %s again: %w", key, err)
		}
	}
	return len(keys), nil
}
