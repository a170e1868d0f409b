package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/jackc/pgx/v5/pgxpool"

	"controlplane/internal/acme"
	"controlplane/internal/alerts"
	"controlplane/internal/certs"
	"controlplane/internal/config"
	"controlplane/internal/dnsupdate"
	"controlplane/internal/edge"
	"controlplane/internal/secrets"
)

// openTLS returns how the edge serves HTTPS; nil: it doesn't.
func openTLS(cfg config.Config, pool *pgxpool.Pool) (*edge.TLS, error) {
	if cfg.TLS.Listen == "" {
		return nil, nil //nolint:nilnil // as said
	}
	sealer, err := secrets.NewSealer(cfg.Auth.DataKey)
	if err != nil {
		return nil, fmt.Errorf("DATA_KEY: %w", err)
	}
	folder, err := certs.NewFolder(filepath.Join(filepath.Dir(cfg.Edge.StateFile), "edge-certificates"), sealer)
	if err != nil {
		return nil, fmt.Errorf("EDGE_STATE_FILE: %w", err)
	}
	public, err := url.Parse(cfg.Edge.PublicURL)
	if err != nil {
		return nil, errors.New("EDGE_PUBLIC_URL can't be read")
	}
	t := &edge.TLS{
		Listen: cfg.TLS.Listen, PublicPort: public.Port(), Store: certs.NewStore(pool, sealer), Folder: folder,
		CertFile: cfg.TLS.CertFile, KeyFile: cfg.TLS.KeyFile,
		OnHealth: func(ctx context.Context, h acme.Health) error { return tellCertificate(ctx, pool, h) },
	}
	if cfg.TLS.UsesACME() {
		if t.ACME, err = openACME(cfg, t.Store); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// openACME returns the client of the CA.
func openACME(cfg config.Config, store *certs.Store) (*acme.Client, error) {
	opts := acme.Options{
		Directory: cfg.TLS.Directory, Email: cfg.TLS.Email, EABKeyID: cfg.TLS.EABKeyID, EABKey: cfg.TLS.EABKey,
		BaseDomain: cfg.BaseDomain, DNSResolvers: cfg.TLS.DNSResolvers,
	}
	if cfg.TLS.Staging {
		opts.Directory = acme.LetsEncryptStaging
	}
	opts.ListenHost, opts.HTTPPort, opts.TLSPort = cfg.Ports()
	if cfg.TLS.RootsFile != "" {
		text, err := os.ReadFile(cfg.TLS.RootsFile)
		if err != nil {
			return nil, fmt.Errorf("ACME_CA_ROOTS_FILE: %w", err)
		}
		opts.Roots = x509.NewCertPool()
		if !opts.Roots.AppendCertsFromPEM(text) {
			return nil, errors.New("ACME_CA_ROOTS_FILE has no certificate in it")
		}
	}
	var err error
	if opts.DNS, err = openDNS(cfg.TLS); err != nil {
		return nil, err
	}
	return acme.New(opts, store)
}

// openDNS returns the way to change DNS; nil: there is none.
func openDNS(cfg config.TLS) (certmagic.DNSProvider, error) {
	switch {
	case cfg.DNSServer != "":
		provider, err := dnsupdate.NewRFC2136(dnsupdate.Options{Server: cfg.DNSServer, Key: cfg.DNSKey, Algorithm: cfg.DNSAlgorithm, Secret: cfg.DNSSecret})
		if err != nil {
			return nil, fmt.Errorf("ACME_DNS_SERVER, ACME_DNS_TSIG_…: %w", err)
		}
		return provider, nil
	case cfg.DNSHook != "":
		return dnsupdate.NewHook(cfg.DNSHook, hookEnvironment(os.Environ())), nil
	}
	return nil, nil //nolint:nilnil // as said
}

// hookEnvironment is what a hook gets of ours: nothing secret, but what is named for it.
func hookEnvironment(environ []string) []string {
	var kept []string
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		switch {
		case name == "PATH", name == "HOME", name == "LANG", name == "TMPDIR", strings.HasPrefix(name, "DNS_HOOK_"):
			kept = append(kept, line)
		}
	}
	return kept
}

const alertCertificate = "certificate.expiring"

// tellCertificate lets operators know of a certificate that can't be renewed, and that it is over.
func tellCertificate(ctx context.Context, pool *pgxpool.Pool, h acme.Health) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	subject := "certificate/" + h.Host
	if h.Trouble == "" {
		return alerts.Resolve(ctx, pool, alertCertificate, subject)
	}
	return alerts.Raise(ctx, pool, alerts.Alert{Kind: alertCertificate, Subject: subject, Message: h.Trouble})
}
