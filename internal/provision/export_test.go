package provision

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"controlplane/internal/secrets"
	"controlplane/internal/tenants"
)

// What tests outside the package need of its inside.
var (
	HashWithSalt = hashWithSalt
	Judge        = judge
	AppsKey      = appsKey
	NewSubnets   = newSubnets
)

// ProbeThrough lets the service's probes go through another transport.
func (s *Service) ProbeThrough(t http.RoundTripper, timeout time.Duration) {
	s.prober.client.Transport = t
	s.opts.ReadyTimeout = timeout
}

// Stock puts a password with a hash of no cost into the stock.
func (s *Service) Stock(password secrets.Secret, hash string) { s.stock.add(password, hash) }

// EnsureSpares is one run of the sweep.
func (s *Service) EnsureSpares(ctx context.Context) error { return s.ensureSpares(ctx) }

// FillStock spares a test the hashing.
func (s *Service) FillStock() {
	for range s.stock.missing() {
		s.stock.add(secrets.RandomPassword(passwordLength), "hash")
	}
}

// RenderConf is odoo.conf for a plan.
func RenderConf(p tenants.Plan, host, database string, password, master secrets.Secret) (string, error) {
	c := confOf(p)
	c.Host, c.Port, c.SSLMode, c.Database, c.Password, c.MasterPassword = host, 5432, "prefer", database, password, master
	b, err := c.render()
	return string(b), err
}

// TenantDatabaseHost is where a tenant behind a gateway finds its database.
func (s *Service) TenantDatabaseHost(gateway netip.Addr) string { return s.tenantDatabaseHost(gateway) }
