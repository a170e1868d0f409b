package tenants

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/accounts"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
)

const (
	passwordLength      = 24 // 5.8 bits each, beyond any guessing
	adminPasswordLength = 16 // people type this one
)

// Credentials are what the owner logs in to Odoo with.
type Credentials struct {
	Login    string
	Password secrets.Secret
	Domain   string // where, without scheme and port
}

// Secrets are what provisioning needs. AdminPassword is empty once the owner has read it.
type Secrets struct {
	DBPassword      secrets.Secret
	MasterPassword  secrets.Secret // odoo.conf's admin_passwd
	AdminPassword   secrets.Secret
	PendingPassword secrets.Secret // of a reset that is going on; "" mostly
	AdminLogin      string
}

// Credentials returns the tenant's login and first password to its owner, once; the password is then forgotten.
// Errors: ErrNotFound, ErrOwnerOnly, ErrNotReady, ErrResetting,
// ErrCredentialsRead.
func (s *Service) Credentials(ctx context.Context, p accounts.Principal, ip netip.Addr, name string) (Credentials, error) {
	var c Credentials
	err := postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error {
		t, err := get(ctx, tx, p, name, "FOR UPDATE")
		switch {
		case err != nil:
			return err
		case t.AccountID != p.AccountID:
			return ErrOwnerOnly
		case t.ActivatedAt == nil:
			return ErrNotReady
		}
		found, err := s.secrets(ctx, tx, t.ID)
		if err != nil {
			return err
		}
		switch {
		case found.PendingPassword != "":
			return ErrResetting
		case found.AdminPassword == "":
			return ErrCredentialsRead
		}
		c = Credentials{Login: found.AdminLogin, Password: found.AdminPassword, Domain: t.Domain}
		_, err = tx.Exec(ctx, `UPDATE tenant_secrets SET admin_password = NULL, read_at = $2 WHERE tenant_id = $1`, t.ID, s.now())
		if err != nil {
			return wrap(err, "forget the password")
		}
		return s.record(ctx, tx, p, ip, t.ID, "client.credentials_read", nil)
	})
	if err != nil {
		return Credentials{}, err
	}
	return c, nil
}

// MintSecretsTx makes the tenant's passwords; a repeat keeps the first ones. The Odoo login is the owner's account e-mail.
func (s *Service) MintSecretsTx(ctx context.Context, tx pgx.Tx, id ID) error {
	tag, err := tx.Exec(ctx, `
		INSERT INTO tenant_secrets (tenant_id, db_password, master_password, admin_login, admin_password)
		SELECT t.id, $2, $3, a.email, $4 FROM tenants t JOIN accounts a ON a.id = t.account_id WHERE t.id = $1
		ON CONFLICT (tenant_id) DO UPDATE SET tenant_id = excluded.tenant_id`,
		id,
		s.seal(secrets.RandomPassword(passwordLength), dbPassword, id),
		s.seal(secrets.RandomPassword(passwordLength), masterPassword, id),
		s.seal(secrets.RandomPassword(adminPasswordLength), adminPassword, id))
	if err != nil {
		return fmt.Errorf("mint the secrets of tenant %s: %w", id, err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNotFound
	}
	return nil
}

// SetAdminPasswordTx replaces the first password before any database has it.
func (s *Service) SetAdminPasswordTx(ctx context.Context, tx pgx.Tx, id ID, password secrets.Secret) error {
	return updateSecrets(ctx, tx, "store the admin password", `UPDATE tenant_secrets SET admin_password = $2, read_at = NULL WHERE tenant_id = $1`,
		id, s.seal(password, adminPassword, id))
}

// Secrets returns the tenant's passwords for provisioning; they never leave for the wire. Errors: ErrNoSecrets.
func (s *Service) Secrets(ctx context.Context, id ID) (Secrets, error) {
	return s.secrets(ctx, s.pool, id)
}

func (s *Service) secrets(ctx context.Context, q postgres.Querier, id ID) (Secrets, error) {
	var found Secrets
	var db, master, admin, pending secrets.Sealed
	err := q.QueryRow(ctx, `SELECT db_password, master_password, admin_login, admin_password, pending_password FROM tenant_secrets
		WHERE tenant_id = $1`, id).Scan(&db, &master, &found.AdminLogin, &admin, &pending)
	if postgres.NoRows(err) {
		return Secrets{}, ErrNoSecrets
	}
	if err != nil {
		return Secrets{}, fmt.Errorf("read the secrets of tenant %s: %w", id, err)
	}
	var all []error
	for _, v := range []struct {
		sealed secrets.Sealed
		column string
		plain  *secrets.Secret
	}{
		{db, dbPassword, &found.DBPassword},
		{master, masterPassword, &found.MasterPassword},
		{admin, adminPassword, &found.AdminPassword},
		{pending, pendingPassword, &found.PendingPassword},
	} {
		plain, err := s.open(v.sealed, v.column, id)
		*v.plain = plain
		all = append(all, err)
	}
	return found, errors.Join(all...)
}
