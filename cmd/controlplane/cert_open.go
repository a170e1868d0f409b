package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"controlplane/internal/acme"
	"controlplane/internal/certs"
	"controlplane/internal/config"
	"controlplane/internal/postgres"
	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// openCertificates opens what the commands need, which is less than the admin commands do.
func openCertificates(ctx context.Context) (*certDesk, func(), error) {
	cfg, err := loadConfig(config.PartPlatform, config.PartSealing, config.PartTLS)
	if err != nil {
		return nil, nil, err
	}
	pool, err := postgres.Open(ctx, cfg.Platform.URL.Reveal(), postgres.Options{MaxConns: 4, ApplicationName: "controlplane cert"})
	if err != nil {
		return nil, nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	sealer, err := secrets.NewSealer(cfg.Auth.DataKey)
	if err != nil {
		pool.Close()
		return nil, nil, fmt.Errorf("DATA_KEY: %w", err)
	}
	desk := &certDesk{
		store: certs.NewStore(pool, sealer), base: cfg.BaseDomain, log: newLogger("warn", "cert"),
		tell:  func(ctx context.Context, h acme.Health) error { return tellCertificate(ctx, pool, h) },
		hosts: func(ctx context.Context) ([]string, error) { return wantedHosts(ctx, pool, cfg) },
	}
	if err := desk.configure(cfg); err != nil {
		pool.Close()
		return nil, nil, err
	}
	return desk, pool.Close, nil
}

// configure adds what only some have: a CA, files of their own.
func (d *certDesk) configure(cfg config.Config) (err error) {
	if cfg.TLS.UsesACME() {
		if d.client, err = openACME(cfg, d.store); err != nil {
			return err
		}
	}
	if cfg.TLS.CertFile == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cfg.TLS.CertFile, cfg.TLS.KeyFile)
	if err != nil {
		return fmt.Errorf("EDGE_TLS_CERT_FILE, EDGE_TLS_KEY_FILE: %w", err)
	}
	d.files = []certs.Record{{
		Host: acme.Platform(cfg.BaseDomain), Names: pair.Leaf.DNSNames, Issuer: cfg.TLS.CertFile, NotBefore: pair.Leaf.NotBefore,
		NotAfter: pair.Leaf.NotAfter, RenewAt: certs.Certificate{NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter}.RenewAt(), Version: 1,
	}}
	return nil
}

// wantedHosts returns what edges keep a certificate for.
func wantedHosts(ctx context.Context, q postgres.Querier, cfg config.Config) ([]string, error) {
	var hosts []string
	if cfg.TLS.CertFile == "" && cfg.TLS.UsesDNS() {
		hosts = append(hosts, acme.Platform(cfg.BaseDomain))
	}
	routes, err := tenants.Routes(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, r := range routes {
		hosts = append(hosts, r.Domains...)
	}
	return hosts, nil
}
