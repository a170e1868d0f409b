package provision

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"controlplane/internal/errs"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// stopGrace is how long an Odoo may take to finish what it is doing.
const stopGrace = 20 * time.Second

// Teardown removes everything that a tenant has outside our database, and lets its subnet rest. What is absent is passed over, so a repeat
// goes on where it was stopped. The caller sees to the tenant's state and to that nothing is being made of it at the same time.
func (s *Service) Teardown(ctx context.Context, t tenants.Tenant) error {
	if err := s.runtime.StopContainer(ctx, containerName(t), stopGrace); err != nil {
		return fmt.Errorf("stop tenant %s: %w", t.ID, err)
	}
	if err := s.runtime.RemoveContainer(ctx, containerName(t)); err != nil {
		return fmt.Errorf("remove tenant %s: %w", t.ID, err)
	}
	if err := s.runtime.RemoveNetwork(ctx, networkName(t)); err != nil {
		return fmt.Errorf("remove tenant %s: %w", t.ID, err)
	}
	for _, volume := range []string{configVolume(t), addonsVolume(t), dataVolume(t)} {
		if err := s.runtime.RemoveVolume(ctx, volume); err != nil {
			return fmt.Errorf("remove tenant %s: %w", t.ID, err)
		}
	}
	if err := s.database.RemoveTenant(ctx, t.DBName, t.ID.Subject()); err != nil {
		return fmt.Errorf("remove tenant %s: %w", t.ID, err)
	}
	return s.releaseSubnet(ctx, t.ID)
}

// ErrNotRunning is returned by ResetAdminPassword for a tenant that has no Odoo yet, or no more.
var ErrNotRunning = errs.New(errs.Conflict, "client_not_active", "The password can be reset once the client is active.")

// ResetAdminPassword gives Odoo's administrator a new random password, which the owner can read once with the credentials, and returns it.
// Sessions that are open end with it. Errors: ErrNotRunning, ErrNoAdmin.
func (s *Service) ResetAdminPassword(ctx context.Context, t tenants.Tenant) (secrets.Secret, error) {
	switch t.State { //nolint:exhaustive // the states in which there is a whole database
	case tenants.Active, tenants.Suspended, tenants.Sleeping:
	default:
		return "", ErrNotRunning
	}
	known, err := s.tenants.Secrets(ctx, t.ID)
	if err != nil {
		return "", err
	}
	password := secrets.RandomPassword(passwordLength)
	hash, err := HashPassword(password)
	if err != nil {
		return "", err
	}
	db := TenantDatabase{Name: t.DBName, Subject: t.ID.Subject(), Password: known.DBPassword}
	if _, err := s.database.SetAdminPassword(ctx, db, hash); err != nil {
		return "", err
	}
	err = postgres.InTx(ctx, s.pool, func(tx pgx.Tx) error { return s.tenants.SetAdminPasswordTx(ctx, tx, t.ID, password) })
	if err != nil {
		return "", err
	}
	return password, nil
}
