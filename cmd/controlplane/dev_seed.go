package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"controlplane/internal/accounts"
	"controlplane/internal/config"
	"controlplane/internal/provision/pgcluster"
	"controlplane/internal/secrets"
)

const (
	devAdmin    = "platform-admin"
	devCustomer = "customer"
)

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, errors.New("TENANT_SUPERNET must be a network like 10.212.0.0/16")
	}
	return p.Masked(), nil
}

// setUpCluster runs, as the superuser, the SQL that an operator of a real server runs once by hand.
func (d *dev) setUpCluster(ctx context.Context, superuserURL string) error {
	err := pgcluster.SetupServer(ctx, secrets.Secret(superuserURL), pgcluster.SetupParams{
		ControlRole: d.setting("EXTERNAL_DB_USER"), ControlPassword: secrets.Secret(d.setting("EXTERNAL_DB_PASSWORD")),
	})
	if err != nil {
		return fmt.Errorf("set up the tenants' database server: %w", err)
	}
	return nil
}

// seed migrates and makes the two accounts of the walk-through, whose passwords are random and only ever come from dev.
func (d *dev) seed(ctx context.Context, cfg config.Config) error {
	log := newLogger("warn", "dev")
	if err := migrate(ctx, cfg, log); err != nil {
		return err
	}
	domain, err := openDomain(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer domain.pool.Close()
	local := netip.MustParseAddr("127.0.0.1")
	_, err = domain.accounts.CreateAdmin(ctx, accounts.RegisterInput{
		Email: devAdmin + "@example.com", Username: devAdmin, Password: secrets.Secret(d.setting("DEV_ADMIN_PASSWORD")),
	})
	if err != nil && !errors.Is(err, accounts.ErrUserExists) {
		return fmt.Errorf("seed the admin: %w", err)
	}
	_, err = domain.accounts.Register(ctx, local, accounts.RegisterInput{
		Email: devCustomer + "@example.com", Username: devCustomer, Password: secrets.Secret(d.setting("DEV_CUSTOMER_PASSWORD")),
	})
	if err != nil && !errors.Is(err, accounts.ErrUserExists) {
		return fmt.Errorf("seed the customer: %w", err)
	}
	return nil
}
