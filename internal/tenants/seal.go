package tenants

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

// The columns of tenant_secrets that are sealed; each value is bound to its column and row.
const (
	dbPassword      = "db_password"
	masterPassword  = "master_password"
	adminPassword   = "admin_password"
	pendingPassword = "pending_password"
)

// sealIfAny returns nil for "", which is an absent value.
func (s *Service) sealIfAny(plain secrets.Secret, column string, id ID) secrets.Sealed {
	if plain == "" {
		return nil
	}
	return s.seal(plain, column, id)
}

func (s *Service) seal(plain secrets.Secret, column string, id ID) secrets.Sealed {
	return s.sealer.Seal(plain, sealContext(column, id))
}

// open returns "" for an absent value.
func (s *Service) open(sealed secrets.Sealed, column string, id ID) (secrets.Secret, error) {
	if sealed == nil {
		return "", nil
	}
	plain, err := s.sealer.Open(sealed, sealContext(column, id))
	if err != nil {
		return "", fmt.Errorf("open %s of tenant %s: %w", column, id, err)
	}
	return plain, nil
}

func sealContext(column string, id ID) string { return "tenants." + column + "/" + id.String() }

// Rekey seals everything again that isn't sealed with the first data key, row by row, and returns how many rows it changed.
// It may be stopped and repeated at any time.
func (s *Service) Rekey(ctx context.Context) (int, error) {
	// A sealed value starts with the key's id and a colon.
	const stale = `SELECT tenant_id FROM tenant_secrets
		WHERE substring(db_password FOR 9) <> $1 OR substring(master_password FOR 9) <> $1 OR substring(admin_password FOR 9) <> $1
			OR substring(pending_password FOR 9) <> $1
		ORDER BY tenant_id`
	rows, err := s.pool.Query(ctx, stale, []byte(s.sealer.KeyID()+":"))
	if err != nil {
		return 0, wrap(err, "find what to seal again")
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[ID])
	if err != nil {
		return 0, wrap(err, "find what to seal again")
	}
	for done, id := range ids {
		if err := s.rekey(ctx, id); err != nil {
			return done, fmt.Errorf("seal the secrets of tenant %s again: %w", id, err)
		}
	}
	return len(ids), nil
}

func (s *Service) rekey(ctx context.Context, id ID) error {
	return postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT FROM tenant_secrets WHERE tenant_id = $1 FOR UPDATE`, id); err != nil {
			return err
		}
		plain, err := s.secrets(ctx, tx, id)
		if err != nil {
			return err
		}
		err = updateSecrets(ctx, tx, "store the secrets", `
			UPDATE tenant_secrets SET db_password = $2, master_password = $3, admin_password = $4, pending_password = $5 WHERE tenant_id = $1`,
			id, s.seal(plain.DBPassword, dbPassword, id), s.seal(plain.MasterPassword, masterPassword, id),
			s.sealIfAny(plain.AdminPassword, adminPassword, id), s.sealIfAny(plain.PendingPassword, pendingPassword, id))
		if err != nil {
			return err
		}
		by := accounts.Principal{Username: accounts.Operator}
		return s.record(ctx, tx, by, netip.Addr{}, id, "client.secrets_rekey", map[string]any{"key": s.sealer.KeyID()})
	})
}
